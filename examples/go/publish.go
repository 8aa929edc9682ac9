// Publish tells everyone who is logged in about a blog post.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	r := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS_ADDR")}) // empty: localhost:6379
	post, _ := json.Marshal(map[string]string{"title": "Knock, knock — ¿quién es?", "by": "go", "url": "/posts/1?a=1&b=<2>"})
	if err := r.Publish(context.Background(), "blogpost", post).Err(); err != nil {
		panic(err)
	}
	// Durable, on a channel with history: recorded, resumable, and the answer is its position.
	position, err := r.FCall(context.Background(), "aldaba_publish", []string{"user:anna"}, `{"title":"Invoice","by":"go"}`).Text()
	fmt.Println(position, err)
}
