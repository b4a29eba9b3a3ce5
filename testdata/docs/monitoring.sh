dev --audit-log audit.log
printf %s pw | secretstore put team/db-password
URL=http://$ADDRESS
