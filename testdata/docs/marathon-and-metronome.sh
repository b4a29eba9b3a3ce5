auth_secret
token_of root token
serve --storage memory: --auth-secret-file auth-secret --superuser root
ready
cp 1.json app.json; cp 4.json pod.json; cp 5.json job.json
printf key >tls.key
printf keytab >service.keytab
mkdir -p ~/.docker
echo '{"auths":{}}' >~/.docker/config.json
for name in developer/pod/tls-key developer/queue-password prod/db/password prod/db/backup/key; do
    printf %s pw | command secretstore put $name --token-file token
done
echo '{"apps":['"$(cat app.json)"']}' >apps.json
curl() {
    case $* in
    *marathon.mesos*) cat apps.json ;;
    *) command curl --fail-with-body "$@" ;;
    esac
}
