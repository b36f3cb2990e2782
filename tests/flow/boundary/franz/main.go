// Attempts of a partner that uses franz-go: prints one JSON line each, {"attempt", "outcome"}.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

var (
	own, other = os.Getenv("OWN_TOPIC"), os.Getenv("OTHER_TOPIC")
	otherGroup = os.Getenv("OTHER_GROUP")
	internal   = strings.Split(os.Getenv("INTERNAL_TOPICS"), ",")
	refusals   = []error{
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	}
)

func client(options ...kgo.Opt) *kgo.Client {
	certificates, err := os.ReadFile(os.Getenv("CA"))
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificates)
	made, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(os.Getenv("SERVERS"), ",")...),
		kgo.DialTLSConfig(&tls.Config{RootCAs: pool}),
		kgo.SASL(scram.Auth{
			User: os.Getenv("KAFKA_USER"), Pass: os.Getenv("KAFKA_PASSWORD"),
		}.AsSha512Mechanism()),
		kgo.RequestRetries(0),
		kgo.RecordDeliveryTimeout(10 * time.Second),
	}, options...)...)
	if err != nil {
		log.Fatal(err)
	}
	return made
}

func consume(options ...kgo.Opt) func(context.Context) error {
	return func(ctx context.Context) error {
		reader := client(options...)
		defer reader.Close()
		for {
			fetches := reader.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				return err
			}
			if fetches.NumRecords() > 0 {
				return nil
			}
		}
	}
}

func produce(topic string, options ...kgo.Opt) func(context.Context) error {
	return func(ctx context.Context) error {
		writer := client(options...)
		defer writer.Close()
		return writer.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("{}")}).FirstErr()
	}
}

func transaction(ctx context.Context) error {
	writer := client(kgo.TransactionalID(fmt.Sprintf("franz-%d", time.Now().UnixNano())))
	defer writer.Close()
	if err := writer.BeginTransaction(); err != nil {
		return err
	}
	if err := writer.ProduceSync(ctx, &kgo.Record{Topic: own, Value: []byte("{}")}).FirstErr(); err != nil {
		return err
	}
	return writer.EndTransaction(ctx, kgo.TryCommit)
}

// asked sends one request and returns the error that its answer names.
func asked[R kmsg.Response](
	request interface {
		RequestWith(context.Context, kmsg.Requestor) (R, error)
	}, code func(R) int16,
) func(context.Context) error {
	return func(ctx context.Context) error {
		asker := client()
		defer asker.Close()
		answer, err := request.RequestWith(ctx, asker)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(code(answer))
	}
}

// toABroker does as asked does, without looking for who leads what: that is hidden from a partner.
func toABroker[R kmsg.Response](request kmsg.Request, code func(R) int16) func(context.Context) error {
	return func(ctx context.Context) error {
		asker := client()
		defer asker.Close()
		answer, err := asker.Broker(1).Request(ctx, request)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(code(answer.(R)))
	}
}

func main() {
	quota := kmsg.NewPtrDescribeClientQuotasRequest()
	users := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest() // named: Kafka refuses to tell of all by no answer
	user := kmsg.NewDescribeUserSCRAMCredentialsRequestUser()
	user.Name = "victim"
	users.Users = append(users.Users, user)
	rules := kmsg.NewPtrDescribeACLsRequest()
	rules.ResourceType, rules.ResourcePatternType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	rules.Operation, rules.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	records := kmsg.NewPtrDeleteRecordsRequest()
	emptied := kmsg.NewDeleteRecordsRequestTopic()
	emptied.Topic = other
	part := kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Offset = 1
	emptied.Partitions = append(emptied.Partitions, part)
	records.Topics = append(records.Topics, emptied)
	transactions := kmsg.NewPtrDescribeTransactionsRequest()
	transactions.TransactionalIDs = []string{"projector.lane.0"}
	produced := kmsg.NewPtrDescribeProducersRequest()
	place := kmsg.NewDescribeProducersRequestTopic()
	place.Topic, place.Partitions = other, []int32{0}
	produced.Topics = append(produced.Topics, place)
	elect := kmsg.NewPtrElectLeadersRequest()
	move := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	offsets := kmsg.NewPtrOffsetForLeaderEpochRequest()
	offsets.ReplicaID = -1
	of := kmsg.NewOffsetForLeaderEpochRequestTopic()
	of.Topic = other
	of.Partitions = append(of.Partitions, kmsg.NewOffsetForLeaderEpochRequestTopicPartition())
	offsets.Topics = append(offsets.Topics, of)
	remove := kmsg.NewPtrDeleteTopicsRequest()
	named := kmsg.NewDeleteTopicsRequestTopic()
	named.Topic = kmsg.StringPtr(other)
	remove.Topics, remove.TopicNames = append(remove.Topics, named), []string{other}
	feature := kmsg.NewPtrUpdateFeaturesRequest()

	attempts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"read " + other, consume(kgo.ConsumeTopics(other))},
		{"read lock-events", consume(kgo.ConsumeTopics(internal[0]))},
		{"read the registry", consume(kgo.ConsumeTopics(internal[3]))},
		{"read as a member of another's group", consume(kgo.ConsumeTopics(own), kgo.ConsumerGroup(otherGroup))},
		{"write to its own topic", produce(own)},
		{"write to its own topic without idempotence",
			produce(own, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))},
		{"write a fact", produce(internal[1])},
		{"write in a transaction", transaction},
		{"ask for quotas", asked(quota, func(r *kmsg.DescribeClientQuotasResponse) int16 { return r.ErrorCode })},
		// librdkafka aborts the process where this is refused.
		{"ask who has a password", asked(users, func(r *kmsg.DescribeUserSCRAMCredentialsResponse) int16 { return r.ErrorCode })},
		{"read the access rules", asked(rules, func(r *kmsg.DescribeACLsResponse) int16 { return r.ErrorCode })},
		{"delete another's records", toABroker(records,
			func(r *kmsg.DeleteRecordsResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })},
		{"ask for a transaction", asked(transactions,
			func(r *kmsg.DescribeTransactionsResponse) int16 { return r.TransactionStates[0].ErrorCode })},
		{"ask who writes", toABroker(produced,
			func(r *kmsg.DescribeProducersResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })},
		{"ask for an epoch's end", toABroker(offsets,
			func(r *kmsg.OffsetForLeaderEpochResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })},
		{"elect leaders", asked(elect, func(r *kmsg.ElectLeadersResponse) int16 { return r.ErrorCode })},
		{"move replicas", asked(move, func(r *kmsg.AlterPartitionAssignmentsResponse) int16 { return r.ErrorCode })},
		{"change the cluster's features", asked(feature, func(r *kmsg.UpdateFeaturesResponse) int16 { return r.ErrorCode })},
		{"delete another's topic", asked(remove, func(r *kmsg.DeleteTopicsResponse) int16 { return r.Topics[0].ErrorCode })},
	}
	lines := json.NewEncoder(os.Stdout)
	for _, attempt := range attempts {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		err := attempt.run(ctx)
		cancel()
		outcome := "allowed"
		if err != nil {
			outcome = err.Error()
		}
		for _, refusal := range refusals {
			if errors.Is(err, refusal) {
				outcome = "refused"
			}
		}
		if err := lines.Encode(map[string]string{"attempt": attempt.name, "outcome": outcome}); err != nil {
			log.Fatal(err)
		}
	}
}
