package client

import (
	"context"
	"fmt"

	"github.com/machd/machd/client/internal/shacrypt"
)

// SetPassword sets the password of a user of an image, which must not be in use.
// It is hashed here. It takes machd.
//
// Reference: docs/api.md, SetImagePassword.
func (c *Client) SetPassword(ctx context.Context, name, user, password string) error {
	return c.SetPasswordHash(ctx, name, user, HashPassword(password))
}

// SetPasswordHash is SetPassword with a hash as crypt(3) makes it, or with what no
// password has, such as "!".
func (c *Client) SetPasswordHash(ctx context.Context, name, user, hash string) error {
	if err := c.tellMachd(ctx, "SetImagePassword", name, user, hash, noOptions); err != nil {
		return fmt.Errorf("cannot set the password of %s in image %q: %w", user, name, err)
	}
	return nil
}

// HashPassword returns what a system knows a password by, as crypt(3) does.
func HashPassword(password string) string { return shacrypt.Hash(password) }
