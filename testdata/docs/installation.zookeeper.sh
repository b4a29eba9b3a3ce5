BIN=$PWD/bin; mkdir "$BIN"
make() { cp "$(type -P secretstore)" .; }
(umask 077; printf 'admin:secret\n' >zk-auth)
block=0
after_block() { if ((++block == 3)); then ready; fi; if ((block==4)); then cp ../zk-auth .; fi }
