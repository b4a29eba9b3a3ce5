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

// FileWriter encrypts a stream of any length to several keys. It writes a binary
// OpenPGP message: a public-key packet for each key, then one SEIPDv1 packet with
// AES-256, uncompressed and unsigned. Each holder can open it with gpg --decrypt.
// The message is complete once Close has returned nil.
type FileWriter struct {
	to      []*PublicKey
	session []byte
	body    io.WriteCloser // the encrypted packet
	literal io.WriteCloser // the literal packet inside body
	plain   hash.Hash      // of the plaintext
}

// errNoRecipient refuses a message without recipients.
var errNoRecipient = errors.New("no PGP key to encrypt the file to")

// NewFileWriter begins a message to the keys, of which there must be at least
// one.
func NewFileWriter(w io.Writer, to []*PublicKey) (*FileWriter, error) {
	if len(to) == 0 {
		return nil, errNoRecipient
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

// Close ends the message. It does not close the underlying writer.
func (f *FileWriter) Close() error {
	// The literal packet closes the encrypted one around it.
	if err := f.literal.Close(); err != nil {
		return fmt.Errorf("encrypt the PGP message: %w", err)
	}
	return nil
}

// ErrFile means that a file does not hold the message that was written to it.
var ErrFile = errors.New("the encrypted file does not read back as it was written")

// Verify reads the finished message back from r. It checks as much as is possible
// without a private key: that there is a packet for each key, that the message is
// intact to its end, and that it holds the plaintext. A damaged session key in a
// recipient's packet is not found. Verify clears the session key, so it can be
// called only once. It returns ErrFile, which also wraps a failed read of r.
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
	// The integrity check comes at the end of the message, in Close.
	if _, err := io.Copy(io.Discard, plain); err != nil || plain.Close() != nil || !bytes.Equal(read.Sum(nil), f.plain.Sum(nil)) {
		return ErrFile
	}
	if _, err := packets.Next(); !errors.Is(err, io.EOF) {
		return ErrFile
	}
	return nil
}
