# hash-password asks on a terminal; here it reads standard input.
exec </dev/null
secretstore() { if [ "$1" = hash-password ]; then printf 'correct horse' | command secretstore "$@"; else command secretstore "$@"; fi; }
