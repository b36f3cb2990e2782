import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.security.scram.ScramLoginModule;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads a partner's topic and proves that nothing is missing: Consume [--count N] */
public final class Consume {
    private final String topic = System.getenv("PARTNER_TOPIC");
    private final Duration timeout = Duration.ofMillis(
            (long) (1000 * Double.parseDouble(System.getenv().getOrDefault("TIMEOUT", "30"))));
    private final Map<Integer, Long> last = new HashMap<>(); // sequence last seen in each partition
    private final long count;
    private long seen;

    private Consume(long count) {
        this.count = count;
    }

    public static void main(String[] arguments) {
        boolean counts = arguments.length == 2 && arguments[0].equals("--count");
        if (arguments.length > 0 && !counts) {
            fail("Consume [--count N]");
        }
        try {
            new Consume(counts ? Long.parseLong(arguments[1]) : Long.MAX_VALUE).run();
        } catch (KafkaException error) {
            fail("Kafka: " + error.getMessage());
        }
    }

    private void run() {
        Instant deadline = Instant.now().plus(timeout);
        Map<String, Object> settings = new HashMap<>(Map.of(
                "bootstrap.servers", System.getenv("PARTNER_BOOTSTRAP_SERVERS"),
                "security.protocol", "SASL_SSL",
                "sasl.mechanism", "SCRAM-SHA-512",
                "sasl.jaas.config", "%s required username=\"%s\" password=\"%s\";".formatted(
                        ScramLoginModule.class.getName(),
                        System.getenv("PARTNER_USERNAME"),
                        System.getenv("PARTNER_PASSWORD")),
                "isolation.level", "read_committed", // what was never committed has not happened
                "auto.offset.reset", "earliest",
                "enable.auto.commit", false));
        String authorities = System.getenv().getOrDefault("PARTNER_CA", "");
        if (!authorities.isEmpty()) { // otherwise the system's
            settings.put("ssl.truststore.type", "PEM");
            settings.put("ssl.truststore.location", authorities);
        }
        var text = new StringDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, text, text)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic, timeout).stream()
                    .map(partition -> new TopicPartition(topic, partition.partition()))
                    .toList();
            if (partitions.isEmpty()) {
                fail("Kafka: there is no topic " + topic);
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (seen < count) {
                for (ConsumerRecord<String, String> event : consumer.poll(Duration.ofMillis(500))) {
                    if (seen < count) {
                        take(event);
                    }
                }
                if (seen < count && count < Long.MAX_VALUE && Instant.now().isAfter(deadline)) {
                    fail("%d of %d events came within %d s"
                            .formatted(seen, count, timeout.toSeconds()));
                }
            }
        }
        System.err.printf("%d events, none missing, none twice%n", seen);
    }

    private void take(ConsumerRecord<String, String> event) {
        long sequence = sequenceOf(event);
        long expected = last.getOrDefault(event.partition(), 0L) + 1;
        if (sequence != expected) {
            fail("%s[%d] offset %d: sequence %d where %d was due: %s".formatted(
                    topic, event.partition(), event.offset(), sequence, expected,
                    sequence < expected ? "a repeat" : "events are missing"));
        }
        System.out.println(event.value());
        last.put(event.partition(), sequence);
        seen++;
    }

    private static long sequenceOf(ConsumerRecord<String, String> event) {
        var header = event.headers().lastHeader("sequence");
        return header == null ? -1 : Long.parseLong(new String(header.value(), UTF_8));
    }

    private static void fail(String reason) {
        System.err.println(reason);
        System.exit(1);
    }
}
