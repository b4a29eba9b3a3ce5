auth_secret
token_of root token
export SECRETSTORE_TOKEN_FILE=token
for name in ID alice bob carol dave erin; do person $name; done
empty() {
    rm -f ~/.local/state/secretstore/known-stores # this page has several stores at one URL
    serve --storage memory: --bootstrap=false --auth-secret-file auth-secret --superuser root
}
ssh() { "${@:2}"; }
curl() { command curl --fail-with-body "$@"; }

empty
secretstore init --pgp-key ID.pub
secretstore seal
block=0
after_block() {
    case $((++block)) in
    1) ready; empty ;;
    2) empty ;;
    3) # sealed again, for shares that come from elsewhere
        ready
        secretstore seal
        ;;
    4) ready ;;
    7) # of a store with a bootstrap key
        rm ~/.local/state/secretstore/known-stores
        serve --storage bolt:reinit.db --auth-secret-file auth-secret --superuser root
        ready
        printf %s pw | secretstore put team/key
        ;;
    8) # a backup of that store, and another store
        secretstore backup -o FILE
        empty
        secretstore init --pgp-key alice.pub
        ;;
    9) # the backups of earlier releases have this form
        secretstore export --pgp-key alice.pub -o ARCHIVE
        ;;
    10) # a store of several holders, and no server
        rm ~/.local/state/secretstore/known-stores
        serve --storage bolt:secrets.db --bootstrap=false --auth-secret-file auth-secret --superuser root
        secretstore init --pgp-key alice.pub --pgp-key bob.pub --pgp-key carol.pub
        printf %s pw | secretstore put team/key
        stop_servers
        ;;
    11)
        serve --storage bolt:secrets.db --bootstrap=false --auth-secret-file auth-secret --superuser root
        secretstore unseal
        ;;
    esac
}
