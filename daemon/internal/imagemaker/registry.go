package imagemaker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// A reference names an image of a registry.
type reference struct {
	host       string
	repository string
	tag        string // "" if there is a digest
	digest     string // "" if there is a tag
}

// Where an image is that is named without a registry.
const (
	standardHost    = "registry-1.docker.io"
	standardLibrary = "library/"
	standardTag     = "latest"
)

// parseReference reads [HOST/]REPOSITORY[:TAG|@DIGEST] as other programs do: what
// stands before the first slash is a host if it could be one.
func parseReference(text string) (r reference, err error) {
	bad := machine1.Errorf(machine1.ErrInvalidArgs, "'%s' is no reference of an image: it is [HOST/]NAME[:TAG|@DIGEST]", text)
	rest, digest, pinned := strings.Cut(text, "@")
	if pinned && !validDigest(digest) {
		return r, bad
	}
	r = reference{host: standardHost, repository: rest, digest: digest}
	if host, path, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		r.host, r.repository = host, path
	}
	if r.host == "docker.io" {
		r.host = standardHost
	}
	if name, tag, ok := strings.Cut(r.repository, ":"); ok {
		r.repository, r.tag = name, tag
	} else if !pinned {
		r.tag = standardTag
	}
	if r.host == standardHost && !strings.Contains(r.repository, "/") {
		r.repository = standardLibrary + r.repository
	}
	for _, part := range []string{r.repository, r.tag} {
		if strings.ContainsFunc(part, notOfReference) || strings.Contains(part, "..") || strings.HasPrefix(part, "/") {
			return r, bad
		}
	}
	if strings.HasSuffix(r.repository, "/") || strings.HasPrefix(r.host, ".") || strings.ContainsAny(r.host, "?#@\\ ") {
		return r, bad
	}
	return r, nil
}

func notOfReference(c rune) bool {
	letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	return !letter && !strings.ContainsRune("._-/", c)
}

// validDigest knows the one kind that is in use.
func validDigest(text string) bool {
	hash, ok := strings.CutPrefix(text, "sha256:")
	sum, err := hex.DecodeString(hash)
	return ok && err == nil && len(sum) == sha256.Size
}

func (r reference) String() string {
	if r.digest != "" {
		return r.host + "/" + r.repository + "@" + r.digest
	}
	return r.host + "/" + r.repository + ":" + r.tag
}

func (r reference) tagOrDigest() string {
	if r.digest != "" {
		return r.digest
	}
	return r.tag
}

func (r reference) manifestPath(what string) string {
	return r.base() + "/manifests/" + what
}

func (r reference) blobPath(digest string) string { return r.base() + "/blobs/" + digest }

// base is without encryption on this host only.
func (r reference) base() string {
	scheme := "https"
	host, _, err := net.SplitHostPort(r.host)
	if err != nil {
		host = r.host
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		scheme = "http"
	}
	return scheme + "://" + r.host + "/v2/" + r.repository
}

// A registry is asked for one image.
//
// Reference: distribution-spec, spec.md.
type registry struct {
	ref   reference
	token string // that it has given us, or ""
}

// quietLimit is how long a registry may take for an answer to begin.
const quietLimit = time.Minute

var registryClient = &http.Client{Transport: &http.Transport{
	Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: quietLimit, TLSHandshakeTimeout: quietLimit,
	DialContext: (&net.Dialer{Timeout: quietLimit}).DialContext,
}}

// document gets something small. digest, if there is one, is what it has to have.
func (r *registry) document(ctx context.Context, url, digest string) ([]byte, error) {
	body, err := r.get(ctx, url)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxManifest {
		return nil, machine1.Errorf(machine1.ErrLimitsExceeded, "%s is too large", url)
	}
	sum := sha256.Sum256(text)
	if digest != "" && digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return nil, errOther(digest)
	}
	return text, nil
}

// blob gets what d describes into a file, which is at its begin then.
func (r *registry) blob(ctx context.Context, d descriptor, to *os.File) error {
	if !validDigest(d.Digest) || d.Size < 0 {
		return machine1.Errorf(machine1.ErrNotSupported, "'%.80s' is no digest that can be checked", d.Digest)
	}
	body, err := r.get(ctx, r.ref.blobPath(d.Digest))
	if err != nil {
		return err
	}
	defer body.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(body, d.Size+1))
	if err != nil {
		return err
	}
	if n != d.Size || d.Digest != "sha256:"+hex.EncodeToString(sum.Sum(nil)) {
		return errOther(d.Digest)
	}
	_, err = to.Seek(0, io.SeekStart)
	return err
}

func errOther(digest string) error {
	return machine1.Errorf(machine1.ErrAccessDenied, "what the registry sends is not what has the digest %s", digest)
}

// get asks for something, with a token if the registry wants one.
func (r *registry) get(ctx context.Context, url string) (io.ReadCloser, error) {
	for tries := 0; ; tries++ {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Accept", strings.Join([]string{mediaIndex, mediaManifest, mediaDockerIndex, mediaDockerManifest, "*/*"}, ", "))
		if r.token != "" {
			request.Header.Set("Authorization", "Bearer "+r.token)
		}
		answer, err := registryClient.Do(request)
		if err != nil {
			return nil, fmt.Errorf("cannot reach the registry: %w", err)
		}
		switch {
		case answer.StatusCode == http.StatusOK:
			return answer.Body, nil
		case answer.StatusCode == http.StatusUnauthorized && tries == 0:
			answer.Body.Close()
			if err := r.login(ctx, answer.Header.Get("WWW-Authenticate")); err != nil {
				return nil, err
			}
			continue
		}
		answer.Body.Close()
		kind := machine1.ErrJobFailed
		switch answer.StatusCode {
		case http.StatusNotFound:
			kind = machine1.ErrFileNotFound
		case http.StatusUnauthorized, http.StatusForbidden:
			kind = machine1.ErrAccessDenied
		}
		return nil, machine1.Errorf(kind, "%s: the registry says %s", url, answer.Status)
	}
}

// login gets a token for everybody. Registries want one even where everybody may
// read.
func (r *registry) login(ctx context.Context, challenge string) error {
	scheme, rest, _ := strings.Cut(challenge, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return machine1.Errorf(machine1.ErrAccessDenied, "the registry wants a password for %s", r.ref)
	}
	query, realm := url.Values{}, ""
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch value = strings.Trim(value, `"`); key {
		case "realm":
			realm = value
		case "service":
			query.Set(key, value)
		}
	}
	query.Set("scope", "repository:"+r.ref.repository+":pull")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, realm+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := registryClient.Do(request)
	if err != nil {
		return fmt.Errorf("cannot ask for a token: %w", err)
	}
	defer answer.Body.Close()
	var got struct {
		Token  string `json:"token"`
		Access string `json:"access_token"`
	}
	if answer.StatusCode != http.StatusOK {
		return machine1.Errorf(machine1.ErrAccessDenied, "there is no token for %s: %s", r.ref, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxManifest)).Decode(&got); err != nil {
		return fmt.Errorf("cannot understand the token: %w", err)
	}
	r.token = got.Token
	if r.token == "" {
		r.token = got.Access
	}
	return nil
}
