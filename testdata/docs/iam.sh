# hash-password asks on a terminal; here it reads standard input.
eval "others_$(declare -f secretstore)"
secretstore() {
    if [[ ${1-} == hash-password ]]; then
        printf 'correct horse' | command secretstore "$@"
    else
        others_secretstore "$@"
    fi
}
