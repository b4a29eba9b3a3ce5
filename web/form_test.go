package web

import (
	"bytes"
	"mime/multipart"
	"net/url"
	"testing"
)

func TestFormsOfBrowsersAreRead(t *testing.T) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, value := range map[string]string{"a": "x\r\n--y", "value": "\x00\xff\r\n"} {
		part, err := w.CreateFormFile(name, `C:\x"y.bin`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parseForm(w.FormDataContentType(), body.Bytes())
	if err != nil || f.text("a") != "x\r\n--y" || f.text("value") != "\x00\xff\r\n" {
		t.Errorf("multipart: %q, %v", f, err)
	}
	secret := f.secret("value")
	f.clear()
	if !bytes.Equal(secret, make([]byte, len(secret))) {
		t.Error("the secret is still there")
	}
	f, err = parseForm("application/x-www-form-urlencoded", []byte("a=1+2%2B&b=&c&a=3&d=%C3%A4"))
	if err != nil || f.text("a") != "" || len(f.all("a")) != 2 || f.all("a")[0] != "1 2+" || !f.has("c") || f.text("d") != "ä" {
		t.Errorf("pairs: %q, %v", f, err)
	}
}

// FuzzForm compares the parser with that of net/url, whose values are strings.
func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", []byte("a=1&b=%20+&c"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		want, wantErr := url.ParseQuery(string(body))
		own := bytes.Clone(body)
		got, err := parseForm(kind, own)
		if err != nil {
			return
		}
		if kind == "application/x-www-form-urlencoded" && wantErr == nil && !bytes.Contains(body, []byte(";")) {
			for _, field := range got.fields {
				if !bytes.Contains([]byte("\x00"+join(want[field.name])+"\x00"), []byte("\x00"+string(field.value)+"\x00")) {
					t.Fatalf("%q is %q, and net/url has %q", field.name, field.value, want[field.name])
				}
			}
		}
		got.clear()
		for _, field := range got.fields {
			if len(bytes.Trim(field.value, "\x00")) > 0 {
				t.Fatalf("%q is still there", field.value)
			}
		}
	})
}

func join(all []string) string {
	var b []byte
	for i, s := range all {
		if i > 0 {
			b = append(b, 0)
		}
		b = append(b, s...)
	}
	return string(b)
}
