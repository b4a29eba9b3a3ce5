package config

import (
	"net"
	"strings"

	"secretstore/seal"
)

// contradictions returns the problems between options that are valid by themselves. An
// option that could not be parsed has its zero value but counts as given, so that one
// mistake is not reported twice.
func contradictions(c Config) []Problem {
	var out []Problem
	say := func(broken bool, where, what string) {
		if broken {
			out = append(out, Problem{where, what})
		}
	}
	listenRules(c, say)
	storageRules(c, say)
	for _, name := range []string{"oidc-create-users", "oidc-first-user"} {
		say(c.IAM == IAMNone && !c.Dev && c.Given(name), "--"+name, "has no effect without --iam builtin; add that or remove the option")
	}
	say(c.IAM == IAMNone && !c.Dev && c.Given("superuser-password-file"), "--superuser-password-file",
		"has no effect without --iam builtin; add that or remove the file")
	if c.Dev {
		devRules(c, say)
	}
	say(c.PprofListen != "" && !strings.HasSuffix(c.PprofListen, ":0") && (c.PprofListen == c.Listen || c.PprofListen == c.TLSListen),
		"--pprof-listen", "is an address of the API; profiles need their own port")
	say(c.Given("auth-secret-file") && c.Given("auth-secret-znode"), "--auth-secret-znode",
		"there is one HS256 key, and --auth-secret-file names it already; remove one of the two")
	say(c.AuthSecretZnodeInsecure && !c.Given("auth-secret-znode"), "--auth-secret-znode-insecure",
		"has no effect without --auth-secret-znode; remove it")
	say(c.JWKSServiceClaim && !c.Given("auth-jwks"), "--jwks-service-claim",
		"has no effect without --auth-jwks; give the key set or remove it")
	return out
}

type sayFunc func(broken bool, where, what string)

func listenRules(c Config, say sayFunc) {
	say(c.off(c.Listen, "listen") && c.off(c.TLSListen, "tls-listen"),
		"--listen", "nothing to listen on; give --listen or --tls-listen an address")
	say(c.Listen != "" && c.Listen == c.TLSListen && !strings.HasSuffix(c.Listen, ":0"), "--tls-listen",
		"is the same address as --listen; HTTP and HTTPS need a port each")
	tls := !c.off(c.TLSListen, "tls-listen")
	files := tls && !c.TLSSelfSigned
	say(files && !c.Given("tls-cert-file"), "--tls-listen", "needs a certificate; name it with --tls-cert-file, or try --tls-self-signed")
	say(files && !c.Given("tls-key-file"), "--tls-listen", "needs the private key of the certificate; name it with --tls-key-file")
	for _, name := range []string{"tls-cert-file", "tls-key-file", "tls-client-ca", "tls-client-uid", "public-url"} {
		say(!tls && c.Given(name), "--"+name, "has no effect without --tls-listen; give --tls-listen an address or remove it")
	}
	say(!tls && c.TLSSelfSigned, "--tls-self-signed", "has no effect without --tls-listen; give --tls-listen an address or remove it")
	say(tls && c.TLSSelfSigned && (c.Given("tls-cert-file") || c.Given("tls-key-file")), "--tls-self-signed",
		"makes a certificate, and there is one already; remove it, or --tls-cert-file and --tls-key-file")
	say(c.Given("tls-client-ca") && !c.Given("tls-client-uid"), "--tls-client-ca",
		"needs to know which name in a certificate is the user; add --tls-client-uid uri:PREFIX or dns:SUFFIX")
	say(c.Given("tls-client-uid") && !c.Given("tls-client-ca"), "--tls-client-uid", "has no effect without --tls-client-ca; name the CAs or remove it")
	say(tls && c.SecurityMode == seal.ModeDisabled, "--tls-listen",
		"is refused with --security-mode disabled, which has no HTTPS; remove it, or set --security-mode permissive")
	say(!tls && c.SecurityMode == seal.ModeStrict, "--security-mode", "strict needs HTTPS; give --tls-listen an address")
}

func storageRules(c Config, say sayFunc) {
	if c.Storage.Kind == "" {
		return // reported already
	}
	if c.Storage.Kind != ZooKeeper {
		for _, name := range []string{"zk-auth-file", "zk-tls-ca", "zk-tls-cert", "zk-tls-key", "zk-session-timeout", "auth-secret-znode"} {
			say(c.Given(name), "--"+name, "needs ZooKeeper, but --storage is "+string(c.Storage.Kind)+
				": remove it or set --storage zk://HOST:PORT")
		}
		return
	}
	say(c.Given("zk-tls-cert") && !c.Given("zk-tls-key"), "--zk-tls-cert", "needs its private key; name it with --zk-tls-key")
	say(c.Given("zk-tls-key") && !c.Given("zk-tls-cert"), "--zk-tls-key", "needs its certificate; name it with --zk-tls-cert")
}

// devRules keep people from running a service with --dev.
func devRules(c Config, say sayFunc) {
	for _, name := range []string{"storage", "auth-secret-file", "auth-secret-znode", "superuser-password-file"} {
		say(c.Given(name), "--dev", "brings its own "+name+"; remove --"+name+" or --dev")
	}
	for _, name := range []string{"auth-issuer", "auth-audience"} {
		say(c.Given(name), "--dev", "makes a token that names no issuer and no audience; remove --"+name+" or --dev")
	}
	say(!c.Bootstrap && !c.failed["bootstrap"], "--dev", "needs --bootstrap; remove --bootstrap=false or --dev")
	for _, addr := range []string{c.Listen, c.TLSListen} {
		host, _, err := net.SplitHostPort(addr)
		say(err == nil && !IsLoopback(host), "--dev", "is for this machine alone; listen on 127.0.0.1 or remove --dev")
	}
	say(c.SecurityMode == seal.ModeStrict, "--dev", "serves plain HTTP; remove --security-mode strict or --dev")
	say(c.off(c.Listen, "listen"), "--dev", "needs --listen; remove --listen \"\" or --dev")
}
