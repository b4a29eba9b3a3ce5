dev
cp "$SECRETSTORE_TOKEN_FILE" token
echo new >new-key.txt
