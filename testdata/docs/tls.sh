auth_secret
token_of carol token
export SECRETSTORE_TOKEN_FILE=token
after_block() { :; }
