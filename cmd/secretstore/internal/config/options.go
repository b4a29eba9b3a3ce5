package config

import (
	"strconv"
	"strings"

	"secretstore/acl/clientcert"
	"secretstore/seal"
)

// Option is one option of the server. The table that Options returns is the only
// description of the options: flags, environment variables, YAML keys and help come
// from it.
type Option struct {
	Name    string // of the flag, without dashes, and of the YAML key
	Arg     string // the value in help: ADDR, FILE; "" for a switch
	Default string // as a user would write it
	Usage   string
	Repeat  bool     // may be given several times: a YAML list
	Switch  bool     // a flag that means true without a value
	Aliases []string // further environment variables

	set func(c *Config, values []string) error
}

// Env returns the names of the environment variables that set the option, the
// main one first.
func (o Option) Env() []string {
	name := "SECRETSTORE_" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
	return append([]string{name}, o.Aliases...)
}

// Options returns the table of all server options, in the order of the help.
// It does not contain --config.
func Options() []Option {
	var all []Option
	all = append(all, listenOptions()...)
	all = append(all, storageOptions()...)
	all = append(all, accessOptions()...)
	return append(all, otherOptions()...)
}

func listenOptions() []Option {
	return []Option{
		{Name: "listen", Arg: "ADDR", Default: "127.0.0.1:1337", Usage: `serve plain HTTP on host:port ("" for none)`,
			set: one(func(c *Config) *string { return &c.Listen }, parseAddress)},
		{Name: "tls-listen", Arg: "ADDR", Usage: "serve HTTPS on host:port",
			set: one(func(c *Config) *string { return &c.TLSListen }, parseAddress)},
		{Name: "tls-cert-file", Arg: "FILE", Usage: "certificate chain for --tls-listen (PEM), reread when it changes",
			set: one(func(c *Config) *string { return &c.TLSCertFile }, parseText)},
		{Name: "tls-key-file", Arg: "FILE", Usage: "private key for --tls-listen (PEM), reread when it changes",
			set: one(func(c *Config) *string { return &c.TLSKeyFile }, parseText)},
		{Name: "tls-self-signed", Default: "false", Switch: true, Usage: "to try HTTPS: make a self-signed certificate for --tls-listen, and log its fingerprint",
			set: one(func(c *Config) *bool { return &c.TLSSelfSigned }, parseBool)},
		{Name: "tls-client-ca", Arg: "FILE", Usage: "ask clients for a certificate of these CAs (PEM), which names their user, reread when it changes",
			set: one(func(c *Config) *string { return &c.TLSClientCA }, parseText)},
		{Name: "tls-client-uid", Arg: "RULE", Usage: "which name in a client certificate is the user id: uri:PREFIX or dns:SUFFIX",
			set: one(func(c *Config) *clientcert.Rule { return &c.TLSClientUID }, parseClientUID)},
		{Name: "public-url", Arg: "URL", Usage: "https://HOST[:PORT] that clients know the server by; plain HTTP redirects to it",
			set: one(func(c *Config) *string { return &c.PublicHost }, parsePublicURL)},
		{Name: "security-mode", Arg: "MODE", Default: seal.ModePermissive.String(),
			Usage: "disabled (HTTP only), permissive (HTTP and HTTPS) or strict (HTTPS only); once given, the store refuses lower ones",
			set:   one(func(c *Config) *seal.Mode { return &c.SecurityMode }, parseSecurityMode)},
		{Name: "trusted-proxies", Arg: "CIDR", Repeat: true, Usage: "believe X-Forwarded-For only from these networks",
			set: parseProxies},
		{Name: "web", Arg: "WHERE", Default: WebAuto,
			Usage: "serve pages for people at /ui/: auto (by HTTPS, on a loopback address, or through --trusted-proxies), on or off",
			set:   one(func(c *Config) *string { return &c.Web }, parseOneOf(WebAuto, WebOn, WebOff))},
		{Name: "request-rate", Arg: "N", Default: "0",
			Usage: "requests a second that one user, or one bound service, may make (0: any number)",
			set:   one(func(c *Config) *int { return &c.RequestRate }, parseRate)},
	}
}

func storageOptions() []Option {
	return []Option{
		{Name: "storage", Arg: "URL", Default: "bolt:secretstore.db",
			Usage: "where secrets are kept: bolt:PATH, zk://H1:P1,H2:P2/ROOT or memory:",
			set:   one(func(c *Config) *Storage { return &c.Storage }, ParseStorage)},
		{Name: "zk-auth-file", Arg: "FILE", Usage: "file with user:password for ZooKeeper digest authentication",
			set: one(func(c *Config) *string { return &c.ZKAuthFile }, parseText)},
		{Name: "zk-tls-ca", Arg: "FILE", Usage: "CA certificates of the ZooKeeper servers (PEM), reread when it changes",
			set: one(func(c *Config) *string { return &c.ZKTLSCA }, parseText)},
		{Name: "zk-tls-cert", Arg: "FILE", Usage: "client certificate for ZooKeeper (PEM), reread when it changes",
			set: one(func(c *Config) *string { return &c.ZKTLSCert }, parseText)},
		{Name: "zk-tls-key", Arg: "FILE", Usage: "private key of the client certificate for ZooKeeper (PEM), reread when it changes",
			set: one(func(c *Config) *string { return &c.ZKTLSKey }, parseText)},
		{Name: "zk-session-timeout", Arg: "DURATION", Default: "6s", Usage: "ZooKeeper session timeout",
			set: oneDuration(func(c *Config) durationRange { return durationRange{&c.ZKSessionTimeout, minSession, maxSession} })},
		{Name: "max-stale", Arg: "DURATION", Default: "5m",
			Usage: "serve cached secrets for this long while the storage is unreachable (0: never)",
			set:   oneDuration(func(c *Config) durationRange { return durationRange{&c.MaxStale, 0, maxStale} })},
		{Name: "bootstrap", Default: "true", Switch: true, Aliases: []string{"SECRETS_BOOTSTRAP"},
			Usage: "initialize an empty storage with a new key pair, keep the private key and unseal with it",
			set:   one(func(c *Config) *bool { return &c.Bootstrap }, parseBool)},
		{Name: "max-secret-size", Arg: "SIZE", Default: "1MiB", Usage: "largest value of a secret",
			set: one(func(c *Config) *int64 { return &c.MaxSecretSize }, ParseSize)},
		{Name: "keep-versions", Arg: "N", Default: strconv.Itoa(seal.DefaultKeepVersions),
			Usage: "number of earlier versions of a secret to keep, within 8 KiB (0: none)",
			set:   one(func(c *Config) *int { return &c.KeepVersions }, parseVersions)},
	}
}

func accessOptions() []Option {
	return []Option{
		{Name: "auth-secret-file", Arg: "FILE", Usage: "file whose first line is the HS256 key for tokens (at least 32 bytes)",
			set: one(func(c *Config) *string { return &c.AuthSecretFile }, parseText)},
		{Name: "auth-secret-znode", Arg: "PATH", Usage: "znode with the HS256 key for tokens (/dcos/auth-token-secret in DC/OS); prefer --auth-jwks",
			set: one(func(c *Config) *string { return &c.AuthSecretZnode }, parseZnode)},
		{Name: "auth-secret-znode-insecure", Default: "false", Switch: true, Usage: "accept that others can write that znode, and so become superuser",
			set: one(func(c *Config) *bool { return &c.AuthSecretZnodeInsecure }, parseBool)},
		{Name: "auth-jwks", Arg: "URL_OR_FILE", Usage: "key set with the RS256 and ES256 keys for tokens (https, or http on loopback)",
			set: one(func(c *Config) *string { return &c.AuthJWKS }, parseKeySet)},
		{Name: "jwks-service-claim", Default: "false", Switch: true,
			Usage: `honor the claim "service" in tokens signed by a key of --auth-jwks`,
			set:   one(func(c *Config) *bool { return &c.JWKSServiceClaim }, parseBool)},
		{Name: "auth-issuer", Arg: "ISSUER", Repeat: true, Usage: `refuse tokens whose claim "iss" is not one of these`,
			set: list(func(c *Config) *[]string { return &c.Issuers }, parseClaim)},
		{Name: "auth-audience", Arg: "AUDIENCE", Repeat: true, Usage: `refuse tokens whose claim "aud" has none of these`,
			set: list(func(c *Config) *[]string { return &c.Audiences }, parseClaim)},
		{Name: "superuser", Arg: "UID", Repeat: true, Usage: "grant this user every permission",
			set: list(func(c *Config) *[]string { return &c.Superusers }, parseUID)},
		{Name: "iam", Arg: "MODE", Default: IAMNone,
			Usage: "none, or builtin: this server signs people and services in, and keeps their accounts, groups and permissions",
			set:   one(func(c *Config) *string { return &c.IAM }, parseOneOf(IAMNone, IAMBuiltin))},
		{Name: "superuser-password-file", Arg: "FILE", Usage: "lines UID:HASH of superusers who sign in with a password, mode 0600, reread when it changes",
			set: one(func(c *Config) *string { return &c.SuperuserPasswordFile }, parseText)},
		{Name: "token-lifetime", Arg: "DURATION", Default: "120h", Usage: "how long the tokens of --iam builtin live; the same on all servers",
			set: oneDuration(func(c *Config) durationRange { return durationRange{&c.TokenLifetime, minLifetime, maxLifetime} })},
		{Name: "foreign-tokens-for-accounts", Default: "false", Switch: true,
			Usage: "accept tokens of other issuers, and client certificates, for users who have or had an account in the IAM",
			set:   one(func(c *Config) *bool { return &c.ForeignTokens }, parseBool)},
		{Name: "oidc-create-users", Default: "false", Switch: true, Usage: "make an account for everybody whom an OpenID Connect provider vouches for",
			set: one(func(c *Config) *bool { return &c.OIDCCreateUsers }, parseBool)},
		{Name: "oidc-first-user", Default: "false", Switch: true, Usage: "make an account for the first person who signs in with OpenID Connect, as open DC/OS does",
			set: one(func(c *Config) *bool { return &c.OIDCFirstUser }, parseBool)},
		{Name: "policy-file", Arg: "FILE", Usage: "YAML file with grants, reread on SIGHUP and when it changes",
			set: one(func(c *Config) *string { return &c.PolicyFile }, parseText)},
	}
}

func otherOptions() []Option {
	return []Option{
		{Name: "audit-log", Arg: "FILE", Usage: "write a JSON line for each decision to FILE (- is standard output)",
			set: one(func(c *Config) *string { return &c.AuditLog }, parseText)},
		{Name: "log-level", Arg: "LEVEL", Default: "info", Usage: "debug, info, warn or error",
			set: parseLevel},
		{Name: "log-format", Arg: "FORMAT", Default: "json", Usage: "json, or console for people, which is the default on a terminal",
			set: one(func(c *Config) *string { return &c.LogFormat }, parseOneOf("json", "console"))},
		{Name: "pprof-listen", Arg: "ADDR",
			Usage: "serve profiles on a loopback address, to every user of this machine without a token; only while you look for a fault",
			set:   one(func(c *Config) *string { return &c.PprofListen }, parseLoopback)},
		{Name: "dev", Default: "false", Switch: true,
			Usage: "run for development, with storage, keys, a superuser token and an audit log in ./.secretstore-dev",
			set:   one(func(c *Config) *bool { return &c.Dev }, parseBool)},
	}
}
