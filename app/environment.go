package main

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const envPrefix = "ALDABA_"

// orchestrated are the variables that Kubernetes and Docker put into a container
// for every service beside it (`ALDABA_PORT_8080_TCP_ADDR` for one called
// aldaba): not ours, and no key of the configuration ends so.
var orchestrated = regexp.MustCompile(`^ALDABA_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// variable is one of the environment, split for matching.
type variable struct {
	name, value string
}

func (v variable) parts() []string {
	return strings.Split(strings.TrimPrefix(v.name, envPrefix), "_")
}

// configVariables returns those of environ (`NAME=value`) that are meant for us,
// list entries in the order of their indexes.
func configVariables(environ []string) []variable {
	var ours []variable
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, envPrefix) && !orchestrated.MatchString(name) {
			ours = append(ours, variable{name, value})
		}
	}
	slices.SortStableFunc(ours, func(a, b variable) int {
		return slices.CompareFunc(a.parts(), b.parts(), comparePart)
	})
	return ours
}

func comparePart(a, b string) int {
	m, errM := strconv.Atoi(a)
	n, errN := strconv.Atoi(b)
	switch {
	case errM == nil && errN == nil:
		return cmp.Compare(m, n)
	case errM == nil: // numbers first, or 10 < 1A < 9
		return -1
	case errN == nil:
		return 1
	}
	return cmp.Compare(a, b)
}

// overlay sets what the environment says on top of cfg.
func overlay(cfg *Config, from origins, vars []variable) faults {
	var all faults
	for _, v := range vars {
		at := origin{variable: v.name}
		target, path, reason := reflect.Value{}, "", unknownVariable
		if !strings.HasSuffix(v.name, "_") {
			target, path, reason = locate(reflect.ValueOf(cfg).Elem(), strings.TrimPrefix(v.name, envPrefix), "")
		}
		if reason == "" {
			reason = setVariable(target, path, v.value, from, at)
		}
		if reason != "" {
			all = append(all, fault{origin: at, reason: reason})
			continue
		}
		from.of[path] = at
	}
	return all
}

// adopt says where those entries of lists came from that no file has: from the
// first variable that sets something of them.
func (o origins) adopt() {
	for _, path := range slices.Sorted(maps.Keys(o.of)) {
		for i, c := range path {
			if _, known := o.of[path[:i+1]]; c == ']' && !known {
				o.of[path[:i+1]] = o.of[path]
			}
		}
	}
}

// setVariable sets target and returns what is wrong with value, if anything.
func setVariable(target reflect.Value, path, value string, from origins, at origin) string {
	if isScalar(target.Type()) {
		if err := setText(target, value); err != nil {
			return err.Error()
		}
		return ""
	}
	target.SetZero()
	for i, item := range splitList(value) {
		target.Set(reflect.Append(target, reflect.ValueOf(item)))
		from.of[fmt.Sprintf("%s[%d]", path, i)] = at
	}
	return ""
}

// splitList is the entries between the commas.
func splitList(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// locate finds what the rest of a variable's name stands for below v, making
// the next entry of a list if that is what it names. Nothing is made if there is
// a reason to refuse the variable.
func locate(v reflect.Value, rest, path string) (target reflect.Value, at, reason string) {
	if rest == "" {
		if !isScalar(v.Type()) && v.Type() != reflect.TypeFor[[]string]() {
			return v, path, notAsAWhole
		}
		return v, path, ""
	}
	switch v.Kind() {
	case reflect.Struct:
		return locateField(v, rest, path)
	case reflect.Slice:
		return locateElement(v, rest, path)
	case reflect.Pointer:
		if !v.IsNil() {
			return locate(v.Elem(), rest, path)
		}
		made := reflect.New(v.Type().Elem())
		if target, at, reason = locate(made.Elem(), rest, path); reason == "" {
			v.Set(made)
		}
		return target, at, reason
	default:
		return v, path, unknownVariable
	}
}

const (
	unknownVariable = "unknown variable: it must be ALDABA_ and the path of a key of config.yaml in capitals, such as ALDABA_REDIS_URL"
	notAsAWhole     = "cannot be set as a whole: name one key of it, such as ALDABA_REDIS_URL or ALDABA_AUTH_ISSUERS_0_SECRET"
)

func locateField(v reflect.Value, rest, path string) (target reflect.Value, at, reason string) {
	for key, field := range fieldsOf(v) {
		after, ok := strings.CutPrefix(rest, strings.ToUpper(key))
		if !ok || after != "" && after[0] != '_' {
			continue // ALDABA_AUTH_ISSUERS_0_SECRET is not _SECRET_FILE
		}
		target, at, reason = locate(field, strings.TrimPrefix(after, "_"), joinPath(path, key))
		if reason != unknownVariable {
			return target, at, reason
		}
	}
	return v, path, unknownVariable
}

func locateElement(v reflect.Value, rest, path string) (target reflect.Value, at, reason string) {
	digits, after, _ := strings.Cut(rest, "_")
	i, err := strconv.Atoi(digits)
	at = fmt.Sprintf("%s[%d]", path, i)
	switch {
	case err != nil || i < 0 || strconv.Itoa(i) != digits:
		return v, path, unknownVariable
	case i > v.Len():
		return v, path, fmt.Sprintf("there is no entry %d: the next one is %d", i, v.Len())
	case i < v.Len():
		return locate(v.Index(i), after, at)
	}
	grown := reflect.Append(v, newElement(v.Type().Elem()))
	if target, at, reason = locate(grown.Index(i), after, at); reason == "" {
		v.Set(grown)
	}
	return target, at, reason
}
