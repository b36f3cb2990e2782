// Records that a temporary web key opened a lock: go run . [TEMP_KEY_UUID [USER_ID]]
package main

import (
	"bytes"
	"cmp"
	crand "crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"
)

const firstPause = 500 * time.Millisecond

// The timeout of one attempt is longer than the service takes to say 503 itself.
var client = http.Client{Timeout: 10 * time.Second}

func main() {
	log.SetFlags(0)
	timeout, err := time.ParseDuration(cmp.Or(os.Getenv("TIMEOUT"), "30") + "s")
	if err != nil {
		log.Fatal("TIMEOUT: ", err)
	}
	giveUpAt := time.Now().Add(timeout)
	args := append(os.Args, "", "")
	command, _ := json.Marshal(map[string]string{
		"tempKeyUuid": cmp.Or(args[1], "example-temp-key"), "userId": cmp.Or(args[2], "example-user"),
	})
	key := crand.Text() // one per door opening: every repeat below carries the same
	method, path := http.MethodPost, "/locks/"+os.Getenv("LOCK_ID")+"/use-temp-key"
	for pause := firstPause; ; pause = min(2*pause, 8*time.Second) {
		status, header, text, err := attempt(method, path, command, key)
		var answer struct {
			Status, Error, Message string
			Details                []struct{ Field, Message string }
			Version                int
			Event                  json.RawMessage
		}
		broken := json.Unmarshal(text, &answer)
		switch {
		case err != nil:
			log.Print("trying again after ", err)
		case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
			log.Print("trying again after ", status)
		case broken != nil:
			log.Fatalf("%d: %.500s", status, text) // not from the service: from a proxy, say
		case status >= 400:
			log.Printf("%d %s: %s", status, answer.Error, answer.Message)
			for _, d := range answer.Details {
				log.Printf("  %s: %s", d.Field, d.Message)
			}
			os.Exit(1)
		case answer.Version > 0:
			fmt.Printf("{\"version\":%d,\"event\":%s}\n", answer.Version, answer.Event)
			return
		case answer.Status != "pending":
			log.Fatalf("not recorded: %s", text)
		default:
			pause = firstPause
			if status == http.StatusAccepted { // it is safe in the log; its version will be found here
				method, path, command = http.MethodGet, header.Get("Location"), nil
			}
		}
		wait := time.Duration(float64(pause) * (0.5 + rand.Float64()/2))
		if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil {
			wait = time.Duration(seconds) * time.Second
		}
		if time.Now().Add(wait).After(giveUpAt) {
			log.Fatal("no final answer in time; repeat with the Idempotency-Key ", key)
		}
		time.Sleep(wait)
	}
}

func attempt(method, path string, body []byte, key string) (int, http.Header, []byte, error) {
	request, err := http.NewRequest(method, os.Getenv("BASE_URL")+path, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
	request.Header.Set("X-API-Key", os.Getenv("API_KEY"))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", key)
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, text, err
}
