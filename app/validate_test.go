package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"aldaba/auth"
)

// secretFrom is what is wrong with a secret_file, as people see it.
func secretFrom(t *testing.T, file string) string {
	t.Helper()
	c, err := loadChecked("", []string{"ALDABA_AUTH_ISSUERS_0_SECRET_FILE=" + file})
	if err != nil {
		return err.Error()
	}
	c.close()
	return ""
}

// A pipe (`<(pass show hub)`) can be read once only.
func TestValidSecretFromAPipe(t *testing.T) {
	t.Chdir(t.TempDir())
	for secret, want := range map[string]string{
		testSecret: "",
		"hunter2":  "7 bytes are too few",
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(w, secret)
		w.Close()
		got := secretFrom(t, fmt.Sprintf("/dev/fd/%d", r.Fd()))
		r.Close()
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("want %q, got %q", want, got)
		}
	}
}

func TestValidSecretFromAnEndlessFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if got, want := secretFrom(t, "/dev/zero"), "is longer than 65536 bytes"; !strings.Contains(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

// Only `aldaba dev` believes the keys that it makes, wherever else they turn up.
func TestValidDevKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	secret := newDevSecret()
	writeFile(t, "dev", " \n"+secret+"\r\n\n")
	for _, issuer := range []auth.Issuer{{Secret: secret}, {SecretFile: "dev"}, {Algorithm: "HS512", SecretFile: "dev"}} {
		for _, dev := range []bool{true, false} {
			c := defaultConfig()
			c.Auth.Issuers = []auth.Issuer{issuer}
			checked, all := check(&settings{Config: c, origins: newOrigins("config.yaml"), dev: dev})
			checked.close()
			if dev != (len(all) == 0) {
				t.Errorf("dev is %t: %v", dev, all)
			}
			for _, f := range all {
				if strings.Contains(f.String(), secret) || !strings.Contains(f.reason, "is the key of a development hub") {
					t.Errorf("got %v", f)
				}
			}
		}
	}
}
