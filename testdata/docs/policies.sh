auth_secret
cat >policy.yaml <<'EOF'
users:
  alice:
    "dcos:secrets:default:/dev/*": [full]
  dcos_marathon:
    "dcos:secrets:resolve:default:/*": [read]
  reader:
    "dcos:secrets:default:/dev/db-password": [read]
EOF
serve --auth-secret-file auth-secret --superuser root --policy-file policy.yaml
ready
token_of root root.token
token_of dcos_marathon scheduler.token
token_of reader reader.token
for name in dev prod; do
    printf %s pw | secretstore put $name/db-password --token-file root.token
done
