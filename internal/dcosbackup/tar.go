package dcosbackup

import (
	"archive/tar"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"strings"
)

// DefaultCipherKey is the key of dcos-secrets-backup if its user gives no other.
// Everybody knows it.
const DefaultCipherKey = "ThisIsAMagicKeyString12345667890"

const (
	sanityName = ".sanity"
	sanityText = "sanity check string"
	// listName is in the files of the first release, and secrets are beside it.
	listName   = "temp/secrets.list"
	binaryName = ".binary" // the end of the name of a binary secret, since 0.4
	// maxMembers bounds the number of members.
	maxMembers = 1_000_000
	// trailer is how many zero bytes end a tar file.
	trailer = 1024
)

// The errors of a tar file as a whole.
var (
	ErrCipherKey = errors.New("the cipher key is wrong, or the file is damaged")
	ErrKeySize   = errors.New("the cipher key must have 32 bytes")
	errTar       = errors.New("it is not a tar file, or it is truncated")
	errSparse    = errors.New("its members are larger than the file, which dcos-secrets-backup does not do")
	errMany      = fmt.Errorf("it has more than %d members", maxMembers)
	errShort     = errors.New("it is too short to be encrypted")
	errRelease   = errors.New("it is from the first release of dcos-secrets-backup, whose format is not supported")
)

// ParseTar reads a file of dcos-secrets-backup: each member is a secret, encrypted
// with AES-256-CFB. CFB notices no change. Only a wrong key is noticed, and damage
// that leaves no JSON.
func ParseTar(data, key []byte) (*Content, error) {
	if len(key) != 32 {
		return nil, ErrKeySize
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(data) < trailer || len(bytes.Trim(data[len(data)-trailer:], "\x00")) > 0 {
		return nil, errTar // tar.Reader takes the end of the file for that of the archive
	}
	c := &Content{}
	p := &tarParser{block: block, content: c, seen: map[string]bool{}}
	if err := p.members(tar.NewReader(bytes.NewReader(data)), int64(len(data))); err != nil {
		c.Clear()
		return nil, err
	}
	// Without a sanity check, which old files do not have, only a text secret shows
	// that the key fits.
	if !p.sane && p.texts == 0 && p.failed > 0 {
		c.Clear()
		return nil, ErrCipherKey
	}
	return c, nil
}

type tarParser struct {
	block         cipher.Block
	content       *Content
	seen          map[string]bool
	sane          bool // the sanity check was there
	texts, failed int  // members that are text secrets, and that should be
}

// members reads all members, which have left bytes together at most: a sparse one could
// be of any size.
func (p *tarParser) members(in *tar.Reader, left int64) error {
	for n := 0; ; n++ {
		h, err := in.Next()
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case err != nil:
			return errTar
		case n == maxMembers:
			return errMany
		}
		name := strings.TrimPrefix(h.Name, "./")
		switch {
		case name == listName && !p.sane: // later releases have their sanity check first
			return errRelease
		case h.Typeflag == tar.TypeDir:
			continue
		case h.Typeflag != tar.TypeReg:
			p.content.note(name, errors.New("it is not a file"))
			continue
		case h.Size > left:
			return errSparse
		case p.seen[name]:
			return errTwice(name)
		}
		p.seen[name] = true
		left -= h.Size
		data, err := io.ReadAll(in)
		if err != nil {
			return errTar
		}
		if err := p.member(name, data); err != nil {
			return err
		}
	}
}

func (p *tarParser) member(name string, data []byte) error {
	plain, err := decrypt(p.block, data)
	if err != nil {
		p.content.note(name, err)
		return nil
	}
	if name == sanityName {
		p.sane = string(plain) == sanityText
		if !p.sane {
			return ErrCipherKey
		}
		return nil
	}
	path := joined("", name)
	s, err := ParseAnswer(path, plain)
	bare, binary := strings.CutSuffix(path, binaryName)
	switch {
	case err == nil:
		clear(plain)
		p.texts++
		if binary {
			p.content.Notes = append(p.content.Notes, fmt.Sprintf("%q is taken for a text secret of that name; a binary secret %q whose bytes are JSON with a value looks the same", path, bare))
		}
	case binary:
		s = Secret{Path: bare, Value: plain, Binary: true}
	default:
		clear(plain)
		p.failed++
		p.content.note(name, err)
		return nil
	}
	p.content.Secrets = append(p.content.Secrets, s)
	return nil
}

// decrypt decrypts IV || AES-CFB.
func decrypt(block cipher.Block, data []byte) ([]byte, error) {
	if len(data) < aes.BlockSize {
		return nil, errShort
	}
	plain := bytes.Clone(data[aes.BlockSize:])
	//lint:ignore SA1019 the format is what it is, and says that it is not authenticated
	cipher.NewCFBDecrypter(block, data[:aes.BlockSize]).XORKeyStream(plain, plain)
	return plain, nil
}
