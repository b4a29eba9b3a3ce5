BIN=$PWD/bin; mkdir "$BIN"
make() { cp "$(type -P secretstore)" .; }
# The test has started a ZooKeeper, at another port.
SOURCE=$PWD/source; mkdir -p "$SOURCE/scripts"
ln -s "$(type -P true)" "$SOURCE/scripts/zookeeper"
running=$ZK
block=0
after_block() {
    case $((++block)) in
    3) ready ;;
    6) ZK=$running ;;
    8) ready ;;
    esac
}
