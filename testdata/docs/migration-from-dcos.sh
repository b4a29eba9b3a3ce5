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
# The old cluster, and a server that takes the same tokens.
block=0
after_block() {
    ((++block == 1)) || return 0
    serve --storage memory: --listen 127.0.0.1:0 --auth-secret-file auth-secret --superuser admin
    OLD_CLUSTER=$LISTENING OLD_TOKEN=$(cat token)
    until curl -sf "$OLD_CLUSTER/ready"; do sleep 0.05; done
    printf %s one | secretstore put team/first --server "$OLD_CLUSTER"
    printf '\xff' | secretstore put second --server "$OLD_CLUSTER"
    serve_also --storage memory: --auth-secret-file auth-secret --superuser admin
    ready
}
