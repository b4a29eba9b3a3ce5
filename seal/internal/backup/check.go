package backup

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"io"
)

// Check passes a backup on while it is written, and says at the end whether that was
// all of it: a reader cannot tell a stream that was cut off from a whole one.
type Check struct {
	to   io.Writer
	hash hash.Hash
	tail []byte // the last bytes so far, at most sums
	good bool   // it begins as a backup
	n    int    // bytes before tail
}

// NewCheck returns a Check that writes to w.
func NewCheck(w io.Writer) *Check { return &Check{to: w, hash: sha256.New(), good: true} }

func (c *Check) Write(p []byte) (int, error) {
	c.tail = append(c.tail, p...)
	if more := len(c.tail) - sums; more > 0 {
		content := c.tail[:more]
		if c.n < len(magic) {
			begin := content[:min(len(content), len(magic)-c.n)]
			c.good = c.good && hmac.Equal(begin, []byte(magic[c.n:c.n+len(begin)]))
		}
		c.hash.Write(content)
		c.n += more
		c.tail = append(c.tail[:0], c.tail[more:]...)
	}
	return c.to.Write(p)
}

// Done returns ErrDamaged unless what was written is a whole backup.
func (c *Check) Done() error {
	switch {
	case !c.good || c.n < len(magic):
		return damaged("it does not begin as one")
	case !hmac.Equal(c.hash.Sum(nil), c.tail[:sha256.Size]):
		return damaged("its hash is wrong")
	}
	return nil
}
