package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"

	bbolt "go.etcd.io/bbolt"
)

// bbolt follows the references of its pages by recursion. A page that leads
// back to itself ends the process: Go cannot recover from a stack overflow.
// bbolt's own Check has the same weakness. So the references are followed once
// here, before the file is used.
//
// All other damage is left to the calls that meet it, so that one bad page does
// not take the rest away. bbolt ends those by a panic or a fault, which become
// errors.

var (
	errCycle      = errors.New("a page is referred to twice")
	errNoFreelist = errors.New("no list of free pages")
)

// The layout of pages, which bbolt writes in the byte order of the machine:
//
//	page:    id 8, flags 2, count 2, overflow 4, then count elements
//	branch:  pos 4, ksize 4, page 8
//	leaf:    flags 4, pos 4, ksize 4, vsize 4; pos counts from the element
//	bucket:  root page 8, sequence 8; if root is 0, a page follows
//	meta:    magic 4, version 4, page size 4, flags 4, root bucket 16,
//	         free list 8, high-water mark 8, txid 8, checksum 8
const (
	pageHeader   = 16
	elementSize  = 16
	bucketHeader = 16
	branchPage   = 0x01
	leafPage     = 0x02
	bucketFlag   = 0x01

	metaSize     = 64
	metaMagic    = 0xED0CDAED
	metaPageSize = 8
	metaFreelist = 32
	metaTxid     = 48
	metaChecksum = 56
	noFreelist   = 1<<64 - 1
	smallestPage = 1 << 10 // the sizes among which bbolt looks for a meta page
	largestPage  = 1 << 24
)

// checkReferences refuses a file in which two references lead to one page. It
// reads the head of each page in use and the elements of the branch pages. It
// needs a bit for each page and 8 bytes for each page of one level of the tree. The
// error is that of ctx, which is checked before each level, or errCycle.
func checkReferences(ctx context.Context, file io.ReaderAt, tx *bbolt.Tx) error {
	w := walk{
		ctx:      ctx,
		file:     file,
		pageSize: int64(tx.DB().Info().PageSize),
		end:      uint64(tx.Size()) / uint64(tx.DB().Info().PageSize),
		seen:     make(map[uint64]*[seenPages / 64]uint64),
	}
	w.refer(uint64(tx.Cursor().Bucket().Root()))
	// Only the buckets of the root are ever opened, not buckets within them.
	for _, root := range w.tree(true) {
		w.refer(root)
	}
	w.tree(false)
	return w.err
}

// seenPages is how many pages one entry of walk.seen is for.
const seenPages = 1 << 15

// walk follows the references of pages, each page once.
type walk struct {
	ctx      context.Context
	file     io.ReaderAt
	pageSize int64
	end      uint64                             // the first page that is not in use
	seen     map[uint64]*[seenPages / 64]uint64 // a bit for each page
	next     []uint64                           // pages to visit
	err      error
}

// refer notes a reference.
func (w *walk) refer(id uint64) {
	if id >= w.end {
		return // bbolt fails when it meets it
	}
	bits := w.seen[id/seenPages]
	if bits == nil {
		bits = new([seenPages / 64]uint64)
		w.seen[id/seenPages] = bits
	}
	word, bit := &bits[id%seenPages/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		w.err = fmt.Errorf("%w: %d", errCycle, id)
		return
	}
	*word |= bit
	w.next = append(w.next, id)
}

// tree visits the pages that were noted and all that they lead to, level by
// level. In the tree of the root bucket it returns the roots of the others.
func (w *walk) tree(root bool) (buckets []uint64) {
	for len(w.next) > 0 && w.err == nil {
		if w.err = context.Cause(w.ctx); w.err != nil {
			return nil
		}
		level := w.next
		w.next = nil
		slices.Sort(level) // to read the disk in its order
		for _, id := range level {
			buckets = append(buckets, w.visit(id, root)...)
		}
	}
	return buckets
}

// visit notes the references of a page, and returns, for a page of the root
// bucket, the roots of the buckets in it. A page that cannot be read, or that
// bbolt would refuse, has none.
func (w *walk) visit(id uint64, root bool) (buckets []uint64) {
	at := int64(id) * w.pageSize
	head, ok := w.read(at, pageHeader)
	if !ok || binary.NativeEndian.Uint64(head) != id {
		return nil
	}
	flags, count := pageType(head)
	if flags != branchPage && (flags != leafPage || !root) {
		return nil
	}
	elements, ok := w.read(at+pageHeader, elementSize*count)
	if !ok {
		return nil
	}
	for i := range count {
		e := elements[elementSize*i:][:elementSize]
		if flags == branchPage {
			w.refer(binary.NativeEndian.Uint64(e[8:]))
		} else if binary.NativeEndian.Uint32(e)&bucketFlag != 0 {
			if page := w.bucket(at+pageHeader+int64(elementSize*i), e); page != 0 {
				buckets = append(buckets, page)
			}
		}
	}
	return buckets
}

// bucket returns the root page of the bucket that the leaf element e, which is
// at that offset of the file, holds. It is 0 if the bucket is inline.
func (w *walk) bucket(at int64, e []byte) uint64 {
	pos, ksize := binary.NativeEndian.Uint32(e[4:]), binary.NativeEndian.Uint32(e[8:])
	header, ok := w.read(at+int64(pos)+int64(ksize), bucketHeader+pageHeader)
	if !ok {
		return 0
	}
	root := binary.NativeEndian.Uint64(header)
	// An inline page has the number 0, and so refers to itself if to anything.
	if flags, _ := pageType(header[bucketHeader:]); root == 0 && flags == branchPage {
		w.err = fmt.Errorf("%w: within a bucket", errCycle)
	}
	return root
}

func pageType(head []byte) (flags uint16, count int) {
	return binary.NativeEndian.Uint16(head[8:]), int(binary.NativeEndian.Uint16(head[10:]))
}

func (w *walk) read(at int64, n int) ([]byte, bool) {
	p := make([]byte, n)
	_, err := w.file.ReadAt(p, at)
	return p, err == nil
}

// checkFreelist refuses a file without a list of free pages, which this program
// never writes: bbolt would follow all references to make one while it opens
// the file, which is before they can be checked. The file need not be locked.
func checkFreelist(file io.ReaderAt) error {
	// bbolt finds the size of a page in the first meta page, and if that is
	// damaged, in the second, which it looks for at all sizes.
	found, ok := readMeta(file, 0)
	for at := int64(smallestPage); !ok && at <= largestPage; at *= 2 {
		found, ok = readMeta(file, at)
	}
	newest, _ := readMeta(file, 0)
	if second, ok := readMeta(file, found.pageSize); ok && second.txid >= newest.txid {
		newest = second
	}
	if newest.freelist == noFreelist {
		return errNoFreelist
	}
	return nil
}

// meta is what counts here of a meta page.
type meta struct {
	pageSize       int64
	freelist, txid uint64
}

func readMeta(file io.ReaderAt, at int64) (meta, bool) {
	m := make([]byte, metaSize)
	if _, err := file.ReadAt(m, at+pageHeader); err != nil {
		return meta{}, false
	}
	sum := fnv.New64a()
	sum.Write(m[:metaChecksum])
	if binary.NativeEndian.Uint32(m) != metaMagic || binary.NativeEndian.Uint64(m[metaChecksum:]) != sum.Sum64() {
		return meta{}, false
	}
	return meta{
		pageSize: int64(binary.NativeEndian.Uint32(m[metaPageSize:])),
		freelist: binary.NativeEndian.Uint64(m[metaFreelist:]),
		txid:     binary.NativeEndian.Uint64(m[metaTxid:]),
	}, true
}
