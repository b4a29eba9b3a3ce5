package records

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"secretstore/seal/envelope"
)

// FuzzPayload: decoding never panics, and what decodes encodes to the same bytes
// in its format.
func FuzzPayload(f *testing.F) {
	p := payload{kind: Text, created: time.Unix(1, 2), author: "a", description: "d", labels: []string{"l", ""}, value: []byte("v"),
		written: time.Unix(3, 4), earlier: historyOf(earlierValue{version: 7, kind: Binary, value: []byte("old")}, earlierValue{version: 2, kind: Text})}
	for format := uint8(1); format <= payloadFormat; format++ {
		for _, size := range []uint64{0, 5 << 20} {
			large := p
			if large.size = size; size > 0 {
				large.value = nil
			}
			data, err := large.appendTo(nil, format)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(format, data)
		}
	}
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		if format < 1 || format > payloadFormat {
			return
		}
		p, err := decodePayload(format, data)
		if err != nil {
			return
		}
		again, err := p.appendTo(nil, format)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("not canonical: %x became %x (%v)", data, again, err)
		}
	})
}

func TestPayloadComesBack(t *testing.T) {
	kinds := rapid.SampledFrom([]Kind{Text, Binary})
	times := rapid.Custom(func(t *rapid.T) time.Time { return fromNanoseconds(rapid.Uint64().Draw(t, "time")) })
	values := rapid.SliceOfN(rapid.Byte(), 1, 99)
	rapid.Check(t, func(t *rapid.T) {
		p := payload{
			kind: kinds.Draw(t, "kind"), created: time.Unix(0, rapid.Int64().Draw(t, "created")).UTC(), written: times.Draw(t, "written"),
			author: rapid.StringN(0, 20, MaxAuthor).Draw(t, "author"), description: rapid.StringN(0, 50, MaxDescription).Draw(t, "description"),
			labels: rapid.SliceOfN(rapid.StringN(0, 10, MaxLabel), 1, 5).Draw(t, "labels"), value: values.Draw(t, "value"),
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "earlier values") {
			e := earlierValue{id: envelope.NewID(), version: uint64(100 - i), kind: kinds.Draw(t, "kind"),
				written: times.Draw(t, "written"), value: values.Draw(t, "value")}
			p.earlier.rest = e.appendTo(p.earlier.rest)
		}
		data, err := p.appendTo(nil, payloadFormat)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > p.encodedSize() { // else plaintext is left behind where it was begun
			t.Fatalf("%d bytes, expected to be at most %d", len(data), p.encodedSize())
		}
		back, err := decodePayload(payloadFormat, data)
		if err != nil || !reflect.DeepEqual(*back, p) {
			t.Fatalf("%+v came back as %+v, %v", p, back, err)
		}
	})
}

// TestGoldenPayloadsStillDecode: golden files are added, not rewritten.
func TestGoldenPayloadsStillDecode(t *testing.T) {
	p := payload{kind: Text, created: time.Unix(1700000000, 5).UTC(), author: "alice", description: "what", labels: []string{"x", "y"}, value: []byte("golden")}
	for format := uint8(1); format <= payloadFormat; format++ {
		if format == 2 {
			p.written = time.Unix(1700000001, 6).UTC()
			p.earlier = historyOf(
				earlierValue{id: envelope.ID{1}, version: 3, kind: Binary, written: time.Unix(1700000000, 7).UTC(), value: []byte{0xff}},
				earlierValue{id: envelope.ID{2}, version: 1, kind: Text, value: []byte("older")},
			)
		}
		file := fmt.Sprintf("../../../testdata/payload-format%d.hex", format)
		if *update && format == payloadFormat {
			data, err := p.appendTo(nil, format)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(hex.EncodeToString(data)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data, err := hex.DecodeString(strings.TrimSpace(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodePayload(format, data)
		if err != nil || !reflect.DeepEqual(*got, p) {
			t.Errorf("format %d: %+v, %v", format, got, err)
		}
	}
}

var update = flag.Bool("update", false, "write a golden payload of the current format")
