auth_secret
token_of admin token
export SECRETSTORE_TOKEN_FILE=$PWD/token
echo "users: {}" >policy.yaml
# A key set, as the IAM has one.
openssl genrsa -out iam.key 2048
JWKS=$PWD/jwks.json
cat >"$JWKS" <<EOF
{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"1","e":"AQAB",
  "n":"$(openssl rsa -in iam.key -noout -modulus | cut -d= -f2 | xxd -r -p | base64 -w 0 | tr '/+' '_-' | tr -d =)"}]}
EOF
# A dump stands for the old ZooKeeper; what is read from a real one is tested in
# cmd/secretstore/internal/cli/migrate. A dry run shows what is to be decided.
OLD_ZOOKEEPER=zk.example.com:2181
eval "$(declare -f secretstore | sed '1s/secretstore/server_or_client/')"
secretstore() {
    if [[ $1 == import && $2 == --from-vault-zk ]]; then
        [[ $3 == zk://$OLD_ZOOKEEPER/dcos/vault/default && $4 == --from-zk-auth-file ]]
        set -- "$1" --from-vault-znodes vault.jsonl "${@:6}"
    fi
    if [[ $* == *--from-vault*--dry-run* ]]; then
        wants 1 command secretstore "$@"
    else
        server_or_client "$@"
    fi
}
gzip -dc "$ROOT/internal/vault/vaulttest/testdata/dcos-vault-0.5.3.znodes.jsonl.gz" >vault.jsonl
jq '{keys: .keys_as_init_returned_them}' "$ROOT/internal/vault/vaulttest/testdata/dcos-vault-0.5.3.keys.json" >init.json
gpg --import "$ROOT/internal/vault/vaulttest/testdata/fixture-pgp-private.asc"
cat >names.json <<EOF
{"secret/names/@secret": null, "secret/names/Tilde~Star*": "names/star", "secret/names/per%cent": "names/percent",
 "secret/names/plus+colon:semi;eq=comma,": "names/plus", "secret/names/with space": "names/space",
 "secret/unicode/größe": "unicode/size", "secret/unicode/ключ/鍵": "unicode/key"}
EOF
cp "$ROOT/internal/dcosbackup/testdata/dcos-secrets-backup-own-key.tar" backup.tar
echo 0123456789abcdef0123456789abcdef >cipher-key
mkdir -p dcos-migrate/backup
cp -r "$ROOT/internal/dcosbackup/testdata/dcos-migrate" dcos-migrate/backup/secret
# The old cluster, and a server that takes the same tokens.
block=0
after_block() {
    ((++block == 1)) || return 0
    serve --storage memory: --listen 127.0.0.1:0 --auth-secret-file auth-secret --superuser admin
    OLD_CLUSTER=$LISTENING
    cp token old-token
    until curl -sf "$OLD_CLUSTER/ready"; do sleep 0.05; done
    printf %s one | secretstore put team/first --server "$OLD_CLUSTER"
    printf '\xff' | secretstore put second --server "$OLD_CLUSTER"
    serve_also --storage memory: --auth-secret-file auth-secret --superuser admin
    ready
}
