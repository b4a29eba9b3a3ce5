package pgp

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// FileWriter encrypts a stream of any length to several keys: a binary OpenPGP
// message of one public-key packet for each and one SEIPDv1 packet with AES-256,
// uncompressed and unsigned, which any of the holders opens with gpg --decrypt.
// Make it with NewFileWriter; it is complete once Close has returned nil.
type FileWriter struct {
	to      []*PublicKey
	session []byte
	body    io.WriteCloser // the encrypted packet
	literal io.WriteCloser // in body
	plain   hash.Hash      // of what was written
}

// errNobody: there is nobody to encrypt to.
var errNobody = errors.New("no PGP key to encrypt the file to")

// NewFileWriter begins a message to the keys, one at least.
func NewFileWriter(w io.Writer, to []*PublicKey) (*FileWriter, error) {
	if len(to) == 0 {
		return nil, errNobody
	}
	f := &FileWriter{to: to, session: make([]byte, packet.CipherAES256.KeySize()), plain: sha256.New()}
	rand.Read(f.session)
	for _, k := range to {
		if err := packet.SerializeEncryptedKey(w, k.encrypt, packet.CipherAES256, f.session, nil); err != nil {
			return nil, fmt.Errorf("encrypt to the PGP key: %w", err)
		}
	}
	var err error
	if f.body, err = packet.SerializeSymmetricallyEncrypted(w, packet.CipherAES256, false, packet.CipherSuite{}, f.session, nil); err != nil {
		return nil, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	if f.literal, err = packet.SerializeLiteral(f.body, true, "", 0); err != nil {
		return nil, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	return f, nil
}

// Write encrypts p.
func (f *FileWriter) Write(p []byte) (int, error) {
	n, err := f.literal.Write(p)
	f.plain.Write(p[:n])
	if err != nil {
		return n, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	return n, nil
}

// Close ends the message. It does not close the writer below.
func (f *FileWriter) Close() error {
	// The literal packet closes the encrypted one around it.
	if err := f.literal.Close(); err != nil {
		return fmt.Errorf("encrypt the PGP message: %w", err)
	}
	return nil
}

// Sum returns the SHA-256 of what was written.
func (f *FileWriter) Sum() []byte { return f.plain.Sum(nil) }

// ErrFile: a file does not hold what was written to it.
var ErrFile = errors.New("the encrypted file does not read back as it was written")

// Verify reads the finished message back, as far as that goes without a private
// key: it is for each of the keys, intact to its end, and holds what was written.
// It can be called once, and ends the use of the session key. ErrFile, or what
// reading fails with.
func (f *FileWriter) Verify(r io.Reader) error {
	defer clear(f.session)
	packets := packet.NewReader(r)
	for _, k := range f.to {
		p, err := packets.Next()
		to, ok := p.(*packet.EncryptedKey)
		if err != nil || !ok || to.KeyId != k.encrypt.KeyId {
			return ErrFile
		}
	}
	p, err := packets.Next()
	body, ok := p.(*packet.SymmetricallyEncrypted)
	if err != nil || !ok || !body.IntegrityProtected || body.Version != 1 {
		return ErrFile
	}
	plain, err := body.Decrypt(packet.CipherAES256, f.session)
	if err != nil {
		return ErrFile
	}
	inner, err := packet.Read(plain)
	literal, ok := inner.(*packet.LiteralData)
	if err != nil || !ok {
		return ErrFile
	}
	read := sha256.New()
	if _, err := io.Copy(read, literal.Body); err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	// The integrity check is at the end, and made by Close.
	if _, err := io.Copy(io.Discard, plain); err != nil || plain.Close() != nil || !bytes.Equal(read.Sum(nil), f.plain.Sum(nil)) {
		return ErrFile
	}
	if _, err := packets.Next(); !errors.Is(err, io.EOF) {
		return ErrFile
	}
	return nil
}
