package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
)

// Bounds on one evaluation of a condition.
const (
	conditionCost  = 100_000 // in CEL's units: about one per step or list entry
	conditionTime  = 50 * time.Millisecond
	conditionCheck = 100 // steps of a loop between looks at the clock
)

// condition is a compiled CEL expression over the claims. It is safe for
// concurrent use.
type condition struct {
	program cel.Program
}

// conditionEnv knows one variable, `claims`, and CEL's standard library, which
// has no clock and no input: the same claims always give the same answer.
var conditionEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)))
})

func newCondition(expression string) (*condition, error) {
	env, err := conditionEnv()
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		return nil, compileFault(issues)
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("a condition is true or false, this is of type %s: compare it, as in claims.admin == true", ast.OutputType())
	}
	program, err := env.Program(ast, cel.CostLimit(conditionCost), cel.InterruptCheckFrequency(conditionCheck))
	if err != nil {
		return nil, err
	}
	return &condition{program}, nil
}

// compileFault puts what CEL reports in several lines into one.
func compileFault(issues *cel.Issues) error {
	var texts []string
	for _, e := range issues.Errors() {
		texts = append(texts, fmt.Sprintf("column %d: %s", e.Location.Column()+1, e.Message))
	}
	return errors.New(strings.Join(texts, "; "))
}

// refusal returns why the condition denies, or the empty string. A condition
// that cannot be evaluated denies.
func (c *condition) refusal(claims map[string]any) string {
	ctx, cancel := context.WithTimeout(context.Background(), conditionTime)
	defer cancel()
	value, _, err := c.program.ContextEval(ctx, map[string]any{"claims": claims})
	if err != nil {
		return "condition failed: " + err.Error()
	}
	if value.Value() != true {
		return "condition is false"
	}
	return ""
}

// celValue returns a claim as CEL understands it. A json.Number is an int or
// uint if it is whole and fits, a double if it is written with a fraction or an
// exponent. Whole numbers beyond 64 bits are strings: as doubles, two different
// identifiers could be equal.
func celValue(value any) any {
	switch value := value.(type) {
	case map[string]any:
		object := make(map[string]any, len(value))
		for name, member := range value {
			object[name] = celValue(member)
		}
		return object
	case []any:
		list := make([]any, len(value))
		for i, entry := range value {
			list[i] = celValue(entry)
		}
		return list
	case json.Number:
		return celNumber(value.String())
	}
	return value
}

func celNumber(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n
	}
	if isWhole(text) {
		return text
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n
	}
	return text
}
