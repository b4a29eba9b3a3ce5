# For the scripts that run the commands of the documentation: see
# cmd/secretstore/commands_test.go. $ADDRESS is where servers listen that are not
# told otherwise; $ROOT is the source tree.

set -x
URL=http://$ADDRESS/secrets/v1

# All servers end with the script.
servers=()
stop_servers() {
    ((${#servers[@]} == 0)) || kill "${servers[@]}" 2>/dev/null || true
    wait
    servers=()
}
trap stop_servers EXIT

# serve runs a server in the background, in place of the one before, and returns
# once it listens.
serve() {
    stop_servers
    serve_also "$@"
}

serve_also() {
    local log
    log=$(mktemp)
    command secretstore server "$@" 2>"$log" >server.out &
    servers+=($!)
    until LISTENING=$(grep -m 1 -o "listening.*" "$log" | grep -m 1 -o "https\?://[0-9a-z.:]*"); do
        kill -0 $! || { cat "$log"; return 1; }
        sleep 0.05
    done
}

# A page shows a server in the foreground of another terminal.
secretstore() {
    if [[ ${1-} == server && $* != *--help* ]]; then
        serve "${@:2}"
    elif [[ ${1-} == put && $# == 2 && ! -p /dev/stdin ]]; then
        printf typed | command secretstore "$@"
    else
        command secretstore "$@"
    fi
}
./secretstore() { secretstore "$@"; }

# wants STATUS COMMAND...
wants() {
    local status=0
    "${@:2}" || status=$?
    [[ $status == "$1" ]]
}

# Keys without a passphrase: nobody is here to type one.
gpg() { command gpg --batch --quiet --pinentry-mode loopback --passphrase '' "$@"; }
person() {
    gpg --quick-gen-key "$1" future-default default never
    gpg --export "$1" >"$1.pub"
}

auth_secret() { (umask 077; head -c 48 /dev/urandom | base64 -w 0 >"${1:-auth-secret}"); }
token_of() { (umask 077; command secretstore token --uid "$1" --secret-file auth-secret >"$2"); }

# ready waits until the store is unsealed.
ready() { until command curl -sf "http://$ADDRESS/ready"; do sleep 0.05; done; }

# dev starts a server of --dev, whose superuser types the commands of the page.
dev() {
    serve --dev "$@"
    ready
    export SECRETSTORE_TOKEN_FILE=$PWD/.secretstore-dev/token
    TOKEN=$(cat "$SECRETSTORE_TOKEN_FILE")
    AUTH="Authorization: token=$TOKEN"
}

after_block() { :; }
