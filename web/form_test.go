package web

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
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
	f.Add("application/x-www-form-urlencoded", []byte("a=1&b=%20+&c&&=0"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n"))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\n\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--x--"))
	for kind, body := range formsOfBrowsers {
		f.Add(kind, []byte(body))
	}
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
		if kind, params, err := mime.ParseMediaType(kind); err == nil && kind == "multipart/form-data" {
			compareParts(t, got, multipart.NewReader(bytes.NewReader(body), params["boundary"]))
		}
		got.clear()
		for _, field := range got.fields {
			if len(bytes.Trim(field.value, "\x00")) > 0 {
				t.Fatalf("%q is still there", field.value)
			}
		}
	})
}

// compareParts wants a form to have the parts that package multipart reads, as far as
// it can.
func compareParts(t *testing.T, got *form, want *multipart.Reader) {
	t.Helper()
	for _, field := range got.fields {
		part, err := want.NextRawPart()
		if err != nil {
			return
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return
		}
		if name := part.FormName(); name != field.name || !bytes.Equal(value, field.value) {
			t.Fatalf("%q is %q, and package multipart has %q as %q", field.name, field.value, name, value)
		}
	}
}

// formsOfBrowsers are bodies as Chromium and Firefox send them, by their types.
var formsOfBrowsers = map[string]string{
	"application/x-www-form-urlencoded": "form-token=AB3C&next=secrets%3Ffolder%3Da%252Fb&uid=admin&password=correct+horse+%3Cbattery%3E+%26+%22staple%22%C3%A4%E2%82%AC",
	"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW": strings.ReplaceAll(`------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="form-token"

AB3C
------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="value"

two
lines

------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="file"; filename="a %22b%22.bin"
Content-Type: application/octet-stream

bytes
------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="labels"


------WebKitFormBoundary7MA4YWxkTrZu0gW--
`, "\n", "\r\n"),
	"multipart/form-data; boundary=---------------------------9051914041544843365972754266": strings.ReplaceAll(`-----------------------------9051914041544843365972754266
Content-Disposition: form-data; name="path"

team/key
-----------------------------9051914041544843365972754266
Content-Disposition: form-data; name="file"; filename=""
Content-Type: application/octet-stream


-----------------------------9051914041544843365972754266--
`, "\n", "\r\n"),
}

func TestFormsAsBrowsersSendThem(t *testing.T) {
	want := map[string][]field{
		"uid":    {{"form-token", []byte("AB3C")}, {"next", []byte("secrets?folder=a%2Fb")}, {"uid", []byte("admin")}, {"password", []byte(`correct horse <battery> & "staple"ä€`)}},
		"labels": {{"form-token", []byte("AB3C")}, {"value", []byte("two\r\nlines\r\n")}, {"file", []byte("bytes")}, {"labels", []byte{}}},
		"path":   {{"path", []byte("team/key")}, {"file", []byte{}}},
	}
	for kind, body := range formsOfBrowsers {
		f, err := parseForm(kind, []byte(body))
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		for name, fields := range want {
			if f.has(name) && fmt.Sprintf("%q", f.fields) != fmt.Sprintf("%q", fields) {
				t.Errorf("%s: %q, want %q", kind, f.fields, fields)
			}
		}
	}
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
