package pgp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Wrap encrypts plaintext to the key. It returns a binary OpenPGP message: one
// public-key packet and one SEIPDv1 packet with AES-256, uncompressed and
// unsigned. Every GnuPG since 2.0 can open it.
func (k *PublicKey) Wrap(plaintext []byte) ([]byte, error) {
	session := make([]byte, packet.CipherAES256.KeySize())
	rand.Read(session)
	defer clear(session)

	var msg bytes.Buffer
	if err := packet.SerializeEncryptedKey(&msg, k.encrypt, packet.CipherAES256, session, nil); err != nil {
		return nil, fmt.Errorf("encrypt to the PGP key: %w", err)
	}
	body, err := packet.SerializeSymmetricallyEncrypted(&msg, packet.CipherAES256, false, packet.CipherSuite{}, session, nil)
	if err != nil {
		return nil, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	// No file name and no time: the message reveals only its recipient.
	literal, err := packet.SerializeLiteral(body, true, "", 0)
	if err != nil {
		return nil, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	if _, err := literal.Write(plaintext); err != nil {
		return nil, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	if err := literal.Close(); err != nil {
		return nil, fmt.Errorf("encrypt the PGP message: %w", err)
	}
	if err := k.verifyForm(msg.Bytes()); err != nil {
		return nil, err
	}
	return msg.Bytes(), nil
}

// verifyForm reads our own message back. It must have one recipient, the selected
// key, and the packet version that gpg opens. If no holder could open their
// share, the store would be lost, so the library is not trusted with this.
func (k *PublicKey) verifyForm(msg []byte) error {
	errForm := errors.New("internal error: the PGP message does not have the form that gpg opens")
	packets := packet.NewReader(bytes.NewReader(msg))
	first, err := packets.Next()
	if err != nil {
		return errForm
	}
	to, ok := first.(*packet.EncryptedKey)
	if !ok || to.KeyId != k.encrypt.KeyId {
		return errForm
	}
	second, err := packets.Next()
	if err != nil {
		return errForm
	}
	body, ok := second.(*packet.SymmetricallyEncrypted)
	if !ok || !body.IntegrityProtected || body.Version != 1 {
		return errForm
	}
	if _, err := io.Copy(io.Discard, body.Contents); err != nil {
		return errForm
	}
	if _, err := packets.Next(); err != io.EOF {
		return errForm
	}
	return nil
}
