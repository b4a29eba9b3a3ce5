# What asks on a terminal reads standard input here: the passwords of admin and alice.
horses=(admin-horse alice-horse new-alice-horse)
alice=1
eval "others_$(declare -f secretstore)"
secretstore() {
    case "${1-} ${2-} ${3-}" in
    hash-password*) printf %s "${horses[0]}" | command secretstore "$@" ;;
    "login admin "*) printf %s "${horses[0]}" | command secretstore "$@" ;;
    "login alice "*) printf %s "${horses[alice]}" | command secretstore "$@" ;;
    "users create alice"*) printf %s "${horses[1]}" | command secretstore "$@" ;;
    "users passwd "*)
        printf '%s\n%s\n' "${horses[1]}" "${horses[2]}" | command secretstore "$@"
        alice=2
        ;;
    server*)
        others_secretstore "$@"
        ready
        # A sign-in before the accounts are loaded ends when they are.
        until secretstore login admin && secretstore users list; do sleep 0.05; done
        secretstore logout
        ;;
    *) others_secretstore "$@" ;;
    esac
}
