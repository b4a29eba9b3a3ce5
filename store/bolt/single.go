package bolt

// SingleServer reports that no other process can have the storage open: the
// file is locked while it is in use. Package seal leaves nothing in it for other
// servers then.
func (b *Backend) SingleServer() bool { return true }
