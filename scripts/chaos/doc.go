// Package chaos tries the whole Secret Store under faults: three real servers
// on a real ZooKeeper ensemble of three, each process in its own network
// that can be cut (see lab_test.go), with clients that read, write, delete and
// list over HTTP while processes are killed and paused and the network is
// partitioned.
//
// TestChaos does it at random and checks the history (check_test.go);
// `make chaos CHAOSTIME=10m SEED=7` runs it for longer, and a seed repeats the
// faults, though not to the second: a fault of a member waits until the
// ensemble has recovered from the one before. The other tests make one fault
// each and check what docs/architecture.md promises for it. Those that make
// faults have the build tag long.
//
// TestBackupsUnderLoadAreOneState makes backups meanwhile, and checks that each
// is one state of what clients wrote (cut_test.go); `make backups` makes 50.
//
// The tests need Linux with network namespaces and the tool ip, as root or as
// a user who may make user namespaces.
package chaos
