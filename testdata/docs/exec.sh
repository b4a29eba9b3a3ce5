dev
mkdir bin
PATH=$PWD/bin:$PATH
for program in bin/psql bin/nginx bin/server server run-it; do
    printf '#!/bin/sh\n' >$program
    chmod +x $program
done
cp .secretstore-dev/token token
echo '{"id":"/team/app","env":{"DB":{"secret":"db"}},"secrets":{"db":{"source":"team/app/db"}}}' >app.json
for name in team/app/db-password team/app/tls-key team/app/db team/app/key; do
    printf %s pw | secretstore put $name
done
person backup
printf 'DB=pw\n' >.env
ssh() { bash -c "$2"; }
# The commands about changes are those of a task.
after_block() { export MARATHON_APP_ID=/team/app; }
