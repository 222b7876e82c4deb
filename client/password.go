package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client/internal/shacrypt"
	"github.com/machd/machd/client/internal/yescrypt"
	"github.com/machd/machd/pkg/machd"
)

// SetPassword sets the password of a user of an image, which must not be in use.
// It is hashed here, by yescrypt if the image's own system does so, and by SHA-512
// otherwise. It takes machd.
//
// Reference: docs/api.md, SetImagePassword.
func (c *Client) SetPassword(ctx context.Context, name, user, password string) error {
	options := machd.PasswordOptions{Yescrypt: hashByYescrypt(password)}
	return c.setPassword(ctx, name, user, HashPassword(password), options.Variants())
}

// SetPasswordHash is SetPassword with a hash as crypt(3) makes it, or with what no
// password has, such as "!".
func (c *Client) SetPasswordHash(ctx context.Context, name, user, hash string) error {
	return c.setPassword(ctx, name, user, hash, noOptions)
}

func (c *Client) setPassword(ctx context.Context, name, user, hash string, options map[string]dbus.Variant) error {
	if err := c.tellMachd(ctx, "SetImagePassword", name, user, hash, options); err != nil {
		return fmt.Errorf("cannot set the password of %s in image %q: %w", user, name, err)
	}
	return nil
}

// HashPassword returns what a system knows a password by, as crypt(3) does: by
// SHA-512, which all systems of the last ten years understand.
func HashPassword(password string) string { return shacrypt.Hash(password) }

// HashPasswordYescrypt is HashPassword by yescrypt, which is much harder to guess
// from. Systems understand it that have libxcrypt 4.3 or later, as those of Debian 11,
// Fedora 35 and Ubuntu 22.04; musl does not.
func HashPasswordYescrypt(password string) (string, error) { return yescrypt.Hash(password) }

// hashByYescrypt returns "" if it cannot be done, which no password is the reason for.
func hashByYescrypt(password string) string {
	hash, err := yescrypt.Hash(password)
	if err != nil {
		return ""
	}
	return hash
}
