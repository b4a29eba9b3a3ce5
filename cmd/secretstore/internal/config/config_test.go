package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"

	"secretstore/acl/clientcert"
	"secretstore/seal"
)

// load runs Load as the program would. The text of file, if any, is written to
// a file that --config then names.
func load(t *testing.T, file string, env map[string]string, args ...string) (Config, []string) {
	t.Helper()
	fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
	flags := Register(fs)
	if file != "" {
		path := filepath.Join(t.TempDir(), "conf.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, problems := Load(flags, func(k string) string { return env[k] })
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return cfg, out
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	got, problems := load(t, "", nil)
	if problems != nil {
		t.Fatal(problems)
	}
	got.given, got.failed = nil, nil
	want := Config{
		Listen:           "127.0.0.1:1337",
		Storage:          Storage{Kind: Bolt, Path: "secretstore.db"},
		ZKSessionTimeout: 6 * time.Second,
		MaxStale:         5 * time.Minute,
		Bootstrap:        true,
		SecurityMode:     seal.ModePermissive,
		MaxSecretSize:    1 << 20,
		KeepVersions:     10,
		Web:              WebAuto,
		IAM:              IAMNone,
		TokenLifetime:    120 * time.Hour,
		LogLevel:         zapcore.InfoLevel,
		LogFormat:        "json",
	}
	opt := cmp.AllowUnexported(Config{}, clientcert.Rule{})
	if d := cmp.Diff(want, got, opt, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("defaults (-want +got):\n%s", d)
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	const file = "listen: 127.0.0.1:1\nmax-secret-size: 2MiB\naudit-log: from-file\n"
	env := map[string]string{"SECRETSTORE_LISTEN": "127.0.0.1:2", "SECRETSTORE_MAX_SECRET_SIZE": "3MiB"}
	c, problems := load(t, file, env, "--listen", "127.0.0.1:3")
	if problems != nil {
		t.Fatal(problems)
	}
	if c.Listen != "127.0.0.1:3" || c.MaxSecretSize != 3<<20 || c.AuditLog != "from-file" {
		t.Errorf("listen %s, size %d, audit %s: want flag, environment, file", c.Listen, c.MaxSecretSize, c.AuditLog)
	}
}

// TestEveryOptionWorksFromEverySource sets each option of the table from the
// flag, the environment and the file, and wants the same Config.
func TestEveryOptionWorksFromEverySource(t *testing.T) {
	samples := map[string]string{
		"listen": "127.0.0.1:9", "storage": "memory:", "zk-session-timeout": "9s", "max-stale": "0",
		"bootstrap": "false", "auth-secret-znode": "/dcos/auth-token-secret", "auth-jwks": "https://x/jwks",
		"auth-secret-znode-insecure": "true", "jwks-service-claim": "true", "superuser": "alice", "trusted-proxies": "10.1.2.3/8",
		"security-mode": "strict", "public-url": "https://secrets.example.com", "max-secret-size": "64MiB", "log-level": "debug", "log-format": "console", "dev": "true",
		"tls-listen": "127.0.0.1:8443", "tls-self-signed": "true", "tls-client-uid": "dns:.users.example.com", "pprof-listen": "127.0.0.1:6060",
	}
	for _, o := range Options() {
		t.Run(o.Name, func(t *testing.T) {
			v := samples[o.Name]
			if v == "" {
				v = "some-file"
			}
			flag, _ := load(t, "", nil, "--"+o.Name+"="+v)
			fromFile, _ := load(t, o.Name+": '"+v+"'\n", nil)
			fromFile.File = "" // the only difference
			unset, _ := load(t, "", nil)
			opt := cmp.AllowUnexported(Config{}, clientcert.Rule{})
			same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
			if cmp.Equal(flag, unset, opt, same) {
				t.Error("the flag changes nothing")
			}
			if d := cmp.Diff(flag, fromFile, opt, same); d != "" {
				t.Errorf("flag and file differ:\n%s", d)
			}
			for _, name := range o.Env() {
				env, _ := load(t, "", map[string]string{name: v})
				if d := cmp.Diff(flag, env, opt, same); d != "" {
					t.Errorf("flag and %s differ:\n%s", name, d)
				}
			}
		})
	}
}

func TestProfilesAreServedOnLoopbackOnly(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:6060": true, "127.9.9.9:0": true, "[::1]:6060": true, "[::ffff:127.0.0.1]:6060": true, "": true,
		"0.0.0.0:6060": false, ":6060": false, "[::]:6060": false, "10.0.0.1:6060": false, "localhost:6060": false,
		"127.0.0.1.example.com:6060": false, "[::ffff:10.0.0.1]:6060": false, "127.0.0.1": false,
	} {
		c, problems := load(t, "", nil, "--pprof-listen", addr)
		if (problems == nil) != ok || ok && c.PprofListen != addr {
			t.Errorf("%q: %q, %v", addr, c.PprofListen, problems)
		}
	}
	if _, problems := load(t, "", nil, "--pprof-listen", "127.0.0.1:1337"); len(problems) != 1 || !strings.Contains(problems[0], "their own port") {
		t.Errorf("the address of the API: %v", problems)
	}
}

func TestRepeatableOptions(t *testing.T) {
	want := []string{"alice", "bob"}
	flag, _ := load(t, "", nil, "--superuser", "alice", "--superuser", "bob")
	env, _ := load(t, "", map[string]string{"SECRETSTORE_SUPERUSER": "alice,bob"})
	file, _ := load(t, "superuser: [alice, bob]\n", nil)
	for name, c := range map[string]Config{"flag": flag, "environment": env, "file": file} {
		if !cmp.Equal(c.Superusers, want) {
			t.Errorf("%s: %v, want %v", name, c.Superusers, want)
		}
	}
}

func TestEmptyIssuerDoesNotSwitchTheCheckOff(t *testing.T) {
	for _, name := range []string{"--auth-issuer", "--auth-audience"} {
		if _, problems := load(t, "", nil, name, ""); len(problems) != 1 || !strings.Contains(problems[0], "is empty") {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

func TestEmptyEnvironmentVariableIsUnset(t *testing.T) {
	c, problems := load(t, "", map[string]string{"SECRETSTORE_STORAGE": "", "SECRETSTORE_CONFIG": ""})
	if problems != nil || c.Storage.Path != "secretstore.db" {
		t.Errorf("storage %v, problems %v", c.Storage, problems)
	}
}

// TestMistakesInTheCommandLineHideNothing: pflag ends at the first of them.
func TestMistakesInTheCommandLineHideNothing(t *testing.T) {
	flags, positional, problems := ParseAll([]string{"--zk_auth_file", "f", "--listen", "nowhere", "--nonsense=hunter2", "-x", "---y=1",
		"--bootstrap", "false", "--superuser", "ü", "--log-level"})
	_, more := Load(flags, func(string) string { return "" })
	var got []string
	for _, p := range slices.Concat(problems, Unexpected(positional), more) {
		got = append(got, p.String())
	}
	want := []string{
		"--zk_auth_file: is not an option; write zk-auth-file", "--nonsense: is not an option", "-x: is not an option", "---y: is not a flag", "--log-level: needs a value",
		`argument "false": is unexpected (a flag that is true or false takes its value after =`, `--listen: "nowhere" is not an address`, `--superuser: "ü" is not a user id`,
	}
	if len(got) != len(want) {
		t.Fatalf("%d problems, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%s\nwant %s…", got[i], want[i])
		}
	}
}

func TestTwoNamesOfOneEnvironmentVariable(t *testing.T) {
	for _, tt := range []struct {
		main, alias string
		args        []string
		problem     bool
		want        bool
	}{
		{"true", "false", nil, true, true},
		{"false", "true", nil, true, false},
		{"false", "perhaps", nil, true, false},
		{"false", "0", nil, false, false},
		{"", "false", nil, false, false},
		{"true", "false", []string{"--bootstrap=false"}, false, false}, // a flag beats both
	} {
		c, problems := load(t, "", map[string]string{"SECRETSTORE_BOOTSTRAP": tt.main, "SECRETS_BOOTSTRAP": tt.alias}, tt.args...)
		if c.Bootstrap != tt.want || (len(problems) > 0) != tt.problem ||
			tt.problem && !strings.HasPrefix(problems[0], "SECRETS_BOOTSTRAP: contradicts SECRETSTORE_BOOTSTRAP") {
			t.Errorf("%+v: bootstrap %v, problems %q", tt, c.Bootstrap, problems)
		}
	}
}

// TestAllMistakesAtOnce makes one of each sort and wants every one named.
func TestAllMistakesAtOnce(t *testing.T) {
	file := "tls_listen: 127.0.0.1:2\nnonsense: hunter2\nlog-level: [info]\nlisten: 127.0.0.1:99999\n"
	env := map[string]string{"SECRETSTORE_MAX_STALE": "soon", "SECRETS_BOOTSTRAP": "perhaps"}
	_, problems := load(t, file, env,
		"--tls-listen", "127.0.0.1:8443", "--zk-auth-file", "f", "--auth-secret-znode", "/x",
		"--trusted-proxies", "10.0.0.0/8,ten,eleven", "--max-secret-size", "1MB", "--security-mode", "disabled", "--public-url", "http://x")
	all := strings.Join(problems, "\n")
	for _, want := range []string{
		":1: tls_listen: is not an option; write tls-listen",
		":2: nonsense: is not an option",
		":3: log-level: takes one value",
		":4: listen: port \"99999\"",
		"SECRETSTORE_MAX_STALE: \"soon\" is not a duration",
		"SECRETS_BOOTSTRAP: \"perhaps\" is neither",
		"--tls-listen: needs a certificate",
		"--tls-listen: needs the private key",
		"--zk-auth-file: needs ZooKeeper",
		"--auth-secret-znode: needs ZooKeeper",
		"--trusted-proxies: \"ten\" is not a network",
		"--trusted-proxies: \"eleven\" is not a network",
		"--max-secret-size: \"1MB\" is not a size",
		"--tls-listen: is refused with --security-mode disabled",
		"--public-url: is not the address of a server by HTTPS",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if len(problems) != 15 {
		t.Errorf("%d problems, want 15:\n%s", len(problems), all)
	}
	if strings.Contains(all, "hunter2") {
		t.Error("the value of an unknown key is repeated")
	}
}

func TestContradictions(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--listen=", "--listen: nothing to listen on"},
		{"--tls-cert-file c", "--tls-cert-file: has no effect without --tls-listen"},
		{"--tls-key-file c", "--tls-key-file: has no effect without --tls-listen"},
		{"--tls-self-signed", "--tls-self-signed: has no effect without --tls-listen"},
		{"--tls-listen :1 --tls-self-signed --tls-cert-file c", "--tls-self-signed: makes a certificate, and there is one already"},
		{"--tls-listen :1 --tls-self-signed --tls-client-ca c", "--tls-client-ca: needs to know which name"},
		{"--tls-listen :1 --tls-self-signed --tls-client-uid dns:.example.com", "--tls-client-uid: has no effect without --tls-client-ca"},
		{"--tls-listen :1 --tls-self-signed --tls-client-ca c --tls-client-uid uri:spiffe://example.com", "--tls-client-uid: is not a rule"},
		{"--listen 127.0.0.1:1 --tls-listen 127.0.0.1:1 --tls-cert-file c --tls-key-file k", "--tls-listen: is the same address"},
		{"--security-mode strict", "--security-mode: strict needs HTTPS; give --tls-listen"},
		{"--security-mode strict --tls-listen=", "--security-mode: strict needs HTTPS; give --tls-listen"},
		{"--security-mode disabled --tls-listen 127.0.0.1:1 --tls-cert-file c --tls-key-file k", "--tls-listen: is refused with --security-mode disabled"},
		{"--public-url https://h", "--public-url: has no effect without --tls-listen"},
		{"--dev --security-mode strict --tls-listen 127.0.0.1:1 --tls-cert-file c --tls-key-file k", "--dev: serves plain HTTP"},
		{"--storage zk://h --zk-tls-cert c", "--zk-tls-cert: needs its private key"},
		{"--storage zk://h --zk-tls-key c", "--zk-tls-key: needs its certificate"},
		{"--jwks-service-claim", "--jwks-service-claim: has no effect"},
		{"--auth-secret-znode-insecure", "--auth-secret-znode-insecure: has no effect"},
		{"--storage zk://h --auth-secret-file f --auth-secret-znode /x", "--auth-secret-znode: there is one HS256 key"},
		{"--dev --storage memory:", "--dev: brings its own storage"},
		{"--dev --bootstrap=false", "--dev: needs --bootstrap"},
		{"--dev --listen 0.0.0.0:1", "--dev: is for this machine alone"},
		{"--dev --listen :1", "--dev: is for this machine alone"},
		{"--auth-jwks http://example.com/jwks", "--auth-jwks: a key set comes from an https URL"},
		{"--auth-jwks https://user:pw@example.com/jwks", "--auth-jwks: a key set comes from an https URL"},
		{"--storage zk://user:pw@h/x", "--storage: must not contain credentials"},
		{"--storage postgres://user:pw@h/x", "--storage: is not a storage"},
		{"--security-mode off", "--security-mode: \"off\" is unknown"},
		{"--max-stale -1s", "--max-stale: -1s is out of range"},
		{"--superuser=", `--superuser: "" is not a user id`},
		{"--config /nonexistent/x.yaml", "--config: cannot read the configuration"},
		{"--config=", "--config: cannot read the configuration"},
	} {
		_, problems := load(t, "", nil, strings.Fields(tt.args)...)
		if len(problems) != 1 || !strings.HasPrefix(problems[0], tt.want) {
			t.Errorf("%s:\n got %v\nwant [%s…]", tt.args, problems, tt.want)
		}
		if strings.Contains(strings.Join(problems, ""), "pw@") {
			t.Errorf("%s: a password is repeated", tt.args)
		}
	}
}

func TestStorageURLs(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want Storage
	}{
		{"bolt:a b.db", Storage{Kind: Bolt, Path: "a b.db"}},
		{"bolt:/var/x", Storage{Kind: Bolt, Path: "/var/x"}},
		{"memory:", Storage{Kind: Memory}},
		{"memory", Storage{Kind: Memory}},
		{"zk://h", Storage{Kind: ZooKeeper, Servers: []string{"h:2181"}, Root: "/dcos/secrets"}},
		{"zk://h:1,i:2/", Storage{Kind: ZooKeeper, Servers: []string{"h:1", "i:2"}, Root: "/dcos/secrets"}},
		{"zk://[::1]:2181/a/b/", Storage{Kind: ZooKeeper, Servers: []string{"[::1]:2181"}, Root: "/a/b"}},
	} {
		got, err := ParseStorage(tt.in)
		if err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
	for in, want := range map[string]string{
		"zk://h:1/a,i:2/a":        "once, after the last server: zk://h:1,i:2/a",
		"zk://h/a/b,i/a/b,j/a/b":  "once, after the last server: zk://h,i,j/a/b",
		"zk://h:1/a,i:2":          "once, after the last server: zk://h:1,i:2/a",
		"zk://h/a,i/b":            "zk://HOST:PORT,HOST:PORT/ROOT",
		"zk://h/a?chroot=/b":      "zk://HOST:PORT,HOST:PORT/ROOT",
		"zk://h/a:2181":           "zk://HOST:PORT,HOST:PORT/ROOT",
		"zk://h/a#b":              "zk://HOST:PORT,HOST:PORT/ROOT",
		"zk://h/%2Fa":             "zk://HOST:PORT,HOST:PORT/ROOT",
		"zk://h/A-z_0.9/~x+y/":    "",
		"zk://h:1,i:2/dcos/a.b-c": "",
	} {
		got, err := ParseStorage(in)
		if err != nil || (got.Doubt == "") != (want == "") || !strings.Contains(got.Doubt, want) {
			t.Errorf("%s: %+v, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "bolt:", "bolt:///x", "bolt", "memory:x", "zk:h", "zk://", "zk:///x", "zk://h:0/x",
		"zk://h:x/x", "zk://h,/x", "zk://h/a//b", "zk://h/../b", "zk://h/zookeeper/x", "zk://h/a b", "file.db", "zk://u:p@h/x"} {
		if got, err := ParseStorage(bad); err == nil {
			t.Errorf("%q is accepted as %+v", bad, got)
		}
	}
}

func TestEveryMistakeInAStorageURLIsNamed(t *testing.T) {
	_, problems := load(t, "", nil, "--storage", "zk://h1:x,h2,h3:99999/zookeeper/a")
	if len(problems) != 3 || !strings.Contains(problems[0], "h1:x") || !strings.Contains(problems[1], "h3:99999") || !strings.Contains(problems[2], "/zookeeper belongs") {
		t.Errorf("problems %q", problems)
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{"1": 1, "1048576": 1 << 20, "1MiB": 1 << 20, "64MiB": 64 << 20, "512 KiB": 512 << 10, "1GiB": 1 << 30} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "-1", "1.5MiB", "MiB", "1MB", "1m", "2GiB", "99999999999999999999", "8589934592GiB"} {
		if got, err := ParseSize(bad); err == nil {
			t.Errorf("%q is accepted as %d", bad, got)
		}
	}
}

func TestFileForms(t *testing.T) {
	for _, ok := range []string{"# only a comment\n", "\n", "---\nlog-level: info\n", "{}"} {
		if _, problems := load(t, ok, nil); problems != nil {
			t.Errorf("%q: %v", ok, problems)
		}
	}
	for in, want := range map[string]string{
		"- a\n":                             "must contain lines of the form",
		"text":                              "must contain lines of the form",
		"a: [":                              "is not valid YAML",
		"log-level: info\nlog-level: warn":  "is set twice",
		"log-level:\n":                      "has no value",
		"log-level: {a: b}\n":               "takes a plain value",
		"superuser: [[a]]\n":                "must be a list of plain values",
		"superuser: []\n":                   "is an empty list",
		"superuser: [&a b, *a]\n":           "has a YAML alias",
		"listen: &a x\ntls-listen: *a\n":    "has a YAML alias",
		"log-level: info\n---\nlisten: x\n": "more than one YAML document",
		"config: other.yaml\n":              "is not an option",
	} {
		if _, problems := load(t, in, nil); !strings.Contains(strings.Join(problems, "\n"), want) {
			t.Errorf("%q: %v, want %s", in, problems, want)
		}
	}
}

// FuzzConfig: whatever a file holds, it is either refused with a reason or
// makes a Config whose parts are within their bounds.
func FuzzConfig(f *testing.F) {
	f.Add("listen: 127.0.0.1:1\nstorage: zk://h/x\n")
	f.Add("superuser: [a, b]\nbootstrap: off\n")
	f.Add("a: &a [*a]\n")
	f.Add("trusted-proxies: 10.0.0.0/8\nmax-secret-size: 64MiB\n")
	f.Fuzz(func(t *testing.T, text string) {
		settings, problems := parseFile("f", []byte(text))
		fs := pflag.NewFlagSet("server", pflag.ContinueOnError)
		env := map[string]string{}
		for name, s := range settings {
			env[Option{Name: name}.Env()[0]] = strings.Join(s.values, ",")
		}
		cfg, more := Load(Register(fs), func(k string) string { return env[k] })
		for _, p := range append(problems, more...) {
			if p.Where == "" || p.What == "" {
				t.Errorf("a problem without words: %q", p)
			}
		}
		if len(more) > 0 {
			return
		}
		if cfg.Listen == "" && cfg.TLSListen == "" {
			t.Error("accepted, but listens nowhere")
		}
		if cfg.Storage.Kind == "" || cfg.MaxSecretSize < 1 || cfg.MaxSecretSize > MaxSecretSizeLimit || cfg.MaxStale < 0 {
			t.Errorf("accepted, but out of bounds: %+v", cfg)
		}
		if https := cfg.TLSListen != ""; cfg.SecurityMode == 0 || (cfg.SecurityMode == seal.ModeStrict) && !https || cfg.SecurityMode == seal.ModeDisabled && https {
			t.Errorf("mode %v accepted, HTTPS %v", cfg.SecurityMode, https)
		}
	})
}

// FuzzParseAll: it ends, and what pflag refuses is never without a problem.
func FuzzParseAll(f *testing.F) {
	for _, seed := range []string{"--listen a", "-x -y", "--no-such --listen", "---", "--=", "--no\x00-- x", "--config", "-h", "--listen=--no --no"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, " ")
		fs := pflag.NewFlagSet("", pflag.ContinueOnError)
		fs.Usage = func() {}
		fs.BoolP("help", "h", false, "")
		Register(fs)
		refused := fs.Parse(slices.Clone(args))
		flags, _, problems := ParseAll(args)
		if flags == nil || (refused != nil) != (len(problems) > 0) {
			t.Errorf("%q: %v, but %q", args, refused, problems)
		}
	})
}
