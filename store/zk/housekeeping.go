package zk

func (b *Backend) housekeeping() {}
