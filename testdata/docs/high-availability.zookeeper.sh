auth_secret
token_of carol token
export SECRETSTORE_TOKEN_FILE=token
server=(--storage "zk://$ZK/high-availability" --auth-secret-file auth-secret --superuser carol)
serve_also "${server[@]}"
SERVER_A=$LISTENING
ready
serve_also "${server[@]}" --listen 127.0.0.1:0
SERVER_B=$LISTENING
