package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"aldaba/auth"
)

// configFile is what is read when no --config is given, if it is there.
const configFile = "config.yaml"

// settings are a configuration and where each part of it came from.
type settings struct {
	Config

	origins origins
	// read says that a file was read, not only defaults and the environment.
	read bool
	// dev says that this is `aldaba dev`, whose key was made for its run.
	dev bool
}

// load reads file (empty: ./config.yaml if there is one, else the defaults) and
// puts the environment on top. Its error holds every fault of form; whether
// the values make sense together is for check.
func load(file string, environ []string) (*settings, error) {
	s, all, err := read(file, environ)
	if err != nil {
		return nil, err
	}
	if err := all.orNil(); err != nil {
		return nil, err
	}
	return s, nil
}

// read is load with its faults apart, for those who find more.
func read(file string, environ []string) (*settings, faults, error) {
	s := &settings{Config: defaultConfig()}
	name := file
	if name == "" {
		name = configFile
	}
	text, err := os.ReadFile(name)
	switch {
	case err == nil:
		s.read = true
	case file == "" && errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fmt.Errorf("there is no file %s: name one with --config, or leave --config out for the defaults", name)
	default:
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	var all faults
	s.origins, all = decodeYAML(name, text, &s.Config)
	if !s.read {
		s.origins.file = "configuration"
	}
	return s, append(all, overlay(&s.Config, s.origins, configVariables(environ))...), nil
}

func hasIssuers(c *Config) bool { return len(c.Auth.Issuers) > 0 }
func hasRedis(c *Config) bool   { return c.Redis.URL != "" }

// loadOrDev is load for the verbs that also work beside `aldaba dev`: if no file
// is named, and what there is without one does not suffice, the running
// development hub's configuration is taken.
func loadOrDev(file string, environ []string, suffices func(*Config) bool) (*settings, error) {
	s, err := load(file, environ)
	if err != nil || file != "" || suffices(&s.Config) {
		return s, err
	}
	if dev, ok := runningDev(); ok {
		s.dev = true
		s.Redis.URL = dev.Redis
		s.Auth.Issuers = []auth.Issuer{devIssuer(dev.Secret)}
		s.Channels = demoPatterns()
	}
	return s, nil
}
