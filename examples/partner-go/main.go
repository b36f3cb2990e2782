// Reads a partner's topic and proves that nothing is missing: go run . [--count N]
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func main() {
	log.SetFlags(0)
	count := flag.Int("count", 0, "stop after so many events (0: go on for ever)")
	flag.Parse()
	timeout, err := time.ParseDuration(cmp.Or(os.Getenv("TIMEOUT"), "30") + "s")
	if err != nil {
		log.Fatal("TIMEOUT: ", err)
	}
	ctx := context.Background()
	if *count > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("PARTNER_BOOTSTRAP_SERVERS"), ",")...),
		kgo.DialTLSConfig(&tls.Config{RootCAs: authorities(os.Getenv("PARTNER_CA"))}),
		kgo.SASL(scram.Auth{
			User: os.Getenv("PARTNER_USERNAME"),
			Pass: os.Getenv("PARTNER_PASSWORD"),
		}.AsSha512Mechanism()),
		kgo.ConsumeTopics(os.Getenv("PARTNER_TOPIC")),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // should retention have overtaken us
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelWarn, nil)),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // what was never committed has not happened
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	last := map[int32]int64{} // the sequence that was last seen in each partition
	seen := 0
	for *count == 0 || seen < *count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); errors.Is(err, context.DeadlineExceeded) {
			log.Fatalf("%d of %d events came within %s", seen, *count, timeout)
		} else if err != nil {
			log.Fatal("Kafka: ", err)
		}
		for _, record := range fetches.Records() {
			if *count > 0 && seen == *count {
				break
			}
			expected := last[record.Partition] + 1
			if sequence := sequenceOf(record); sequence != expected {
				log.Fatalf("%s[%d] offset %d: sequence %d where %d was due: %s", record.Topic,
					record.Partition, record.Offset, sequence, expected, kindOf(sequence, expected))
			}
			fmt.Println(string(record.Value))
			last[record.Partition] = expected
			seen++
		}
	}
	log.Printf("%d events, none missing, none twice", seen)
}

func sequenceOf(record *kgo.Record) int64 {
	for _, header := range record.Headers {
		if header.Key == "sequence" {
			if sequence, err := strconv.ParseInt(string(header.Value), 10, 64); err == nil {
				return sequence
			}
		}
	}
	return -1
}

func kindOf(sequence, expected int64) string {
	if sequence < expected {
		return "a repeat"
	}
	return "events are missing"
}

// authorities reads the CA that the brokers' certificate is checked by; nil stands for the system's.
func authorities(file string) *x509.CertPool {
	if file == "" {
		return nil
	}
	certificates, err := os.ReadFile(file)
	if err != nil {
		log.Fatal("PARTNER_CA: ", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(certificates) {
		log.Fatal("PARTNER_CA: there is no certificate in ", file)
	}
	return pool
}
