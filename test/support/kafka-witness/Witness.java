import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.MemberAssignment;
import org.apache.kafka.clients.admin.MemberDescription;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.coordinator.group.generated.OffsetCommitKey;
import org.apache.kafka.coordinator.group.generated.OffsetCommitValue;

/**
 * The tests' independent witness: Apache Kafka's own Java client behind a socket on 127.0.0.1, so that what the gateway
 * says it wrote and committed is read back by code that shares nothing with it, in milliseconds and not in the second
 * or two that each start of a console tool takes.
 *
 * One JSON object a line: {id, bootstrap, op, ...} in, {id, result} or {id, error} out. Bytes are base64, null is null.
 * It prints its port on standard output, and ends when its standard input ends, which is when whoever started it is gone.
 */
public class Witness {
  static final ObjectMapper JSON = new ObjectMapper();
  static final ExecutorService THREADS = Executors.newCachedThreadPool(task -> {
    Thread thread = new Thread(task);
    thread.setDaemon(true);
    return thread;
  });
  static final Map<String, Admin> ADMINS = new ConcurrentHashMap<>();
  static final Map<String, KafkaProducer<byte[], byte[]>> PRODUCERS = new ConcurrentHashMap<>();
  static final Map<String, KafkaConsumer<byte[], byte[]>> FOLLOWED = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    ServerSocket server = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
    THREADS.submit(() -> {
      while (true) {
        Socket socket = server.accept();
        socket.setTcpNoDelay(true);
        THREADS.submit(() -> serve(socket));
      }
    });
    System.out.println("port " + server.getLocalPort());
    System.out.flush();
    while (System.in.read() != -1) { /* nothing is ever said, only the end matters */ }
    Runtime.getRuntime().halt(0);
  }

  static Void serve(Socket socket) throws Exception {
    try (socket) {
      BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
      OutputStream out = socket.getOutputStream();
      for (String line; (line = in.readLine()) != null;) {
        JsonNode request = JSON.readTree(line);
        THREADS.submit(() -> {
          Map<String, Object> answer = new LinkedHashMap<>();
          answer.put("id", request.get("id").asLong());
          try {
            answer.put("result", answer(request));
          } catch (Throwable thrown) {
            Throwable cause = thrown instanceof ExecutionException && thrown.getCause() != null ? thrown.getCause() : thrown;
            answer.put("error", cause.getClass().getSimpleName() + ": " + cause.getMessage());
          }
          byte[] bytes = (JSON.writeValueAsString(answer) + "\n").getBytes(StandardCharsets.UTF_8);
          synchronized (out) {
            out.write(bytes);
            out.flush();
          }
          return null;
        });
      }
    }
    return null;
  }

  static Object answer(JsonNode request) throws Exception {
    String bootstrap = request.get("bootstrap").asText();
    // A broker that SIGSTOP holds takes the connection and answers nothing: give it up soon and ask another one. How often it is asked is not
    // bounded, only for how long: while a new cluster makes the topic of the groups' offsets, a hundred times are over in three seconds.
    Admin admin = ADMINS.computeIfAbsent(bootstrap, servers -> Admin.create(Map.of(
        "bootstrap.servers", servers, "request.timeout.ms", "2000", "default.api.timeout.ms", "30000",
        "reconnect.backoff.ms", "500", "reconnect.backoff.max.ms", "3000", "metadata.max.age.ms", "2000")));
    switch (request.get("op").asText()) {
      case "nodes": return admin.describeCluster().nodes().get().stream().map(node -> node.id()).sorted().toList();
      case "createTopic": return createTopic(admin, request);
      case "deleteTopic": return admin.deleteTopics(List.of(text(request, "topic"))).all().get();
      case "describeTopic": return describeTopic(admin, text(request, "topic"));
      case "deleteRecords": return admin.deleteRecords(Map.of(partition(request), RecordsToDelete.beforeOffset(request.get("before").asLong())))
          .all().get();
      case "committed": return committed(admin, text(request, "group"));
      case "commit": return commit(admin, request);
      case "describeGroup": return describeGroup(admin, text(request, "group"));
      case "deleteGroup": return admin.deleteConsumerGroups(List.of(text(request, "group"))).all().get();
      case "allow": return allow(admin, request);
      case "offsets": return offsets(bootstrap, request);
      case "read": return read(bootstrap, request);
      case "produce": return produce(PRODUCERS.computeIfAbsent(bootstrap, servers -> producer(servers, null)), request);
      case "transaction": return transaction(bootstrap, request);
      case "openTransaction": return openTransaction(bootstrap, request);
      case "follow": return follow(bootstrap, request);
      case "followCommits": return followCommits(bootstrap, request);
      case "unfollow": return unfollow(request);
      case "moveLeaders": return moveLeaders(admin, text(request, "topic"));
      case "addPartitions": return admin.createPartitions(Map.of(text(request, "topic"), NewPartitions.increaseTo(request.get("total").asInt())))
          .all().get();
      default: throw new IllegalArgumentException("no such op: " + request.get("op"));
    }
  }

  static Object allow(Admin admin, JsonNode request) throws Exception {
    ResourcePattern resource = new ResourcePattern(
        ResourceType.fromString(text(request, "resource")), text(request, "name"), PatternType.LITERAL);
    AccessControlEntry entry = new AccessControlEntry(
        text(request, "principal"), "*", AclOperation.fromString(text(request, "operation")), AclPermissionType.ALLOW);
    return admin.createAcls(List.of(new AclBinding(resource, entry))).all().get();
  }

  static Object createTopic(Admin admin, JsonNode request) throws Exception {
    Map<String, String> config = new HashMap<>();
    request.get("config").properties().forEach(entry -> config.put(entry.getKey(), entry.getValue().asText()));
    NewTopic topic = new NewTopic(text(request, "topic"), Optional.of(request.get("partitions").asInt()), Optional.empty()).configs(config);
    admin.createTopics(List.of(topic)).all().get();
    return null;
  }

  static Object describeTopic(Admin admin, String name) throws Exception {
    TopicDescription topic = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
    List<Object> partitions = new ArrayList<>();
    topic.partitions().forEach(info -> partitions.add(object(
        "partition", info.partition(),
        "leader", info.leader() == null ? null : info.leader().id(),
        "replicas", info.replicas().stream().map(node -> node.id()).toList(),
        "isr", info.isr().stream().map(node -> node.id()).toList())));
    return object("topicId", topic.topicId().toString(), "partitions", partitions);
  }

  static Object committed(Admin admin, String group) throws Exception {
    List<Object> offsets = new ArrayList<>();
    Map<TopicPartition, OffsetAndMetadata> found;
    try {
      found = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
    } catch (ExecutionException thrown) {
      if (thrown.getCause() instanceof GroupIdNotFoundException) return offsets;
      throw thrown;
    }
    found.forEach((at, offset) -> {
      if (offset != null) {
        offsets.add(object("topic", at.topic(), "partition", at.partition(), "offset", offset.offset(),
            "metadata", offset.metadata(), "leaderEpoch", offset.leaderEpoch().orElse(null)));
      }
    });
    return offsets;
  }

  static Object commit(Admin admin, JsonNode request) throws Exception {
    String metadata = request.hasNonNull("metadata") ? text(request, "metadata") : "";
    OffsetAndMetadata offset = new OffsetAndMetadata(request.get("offset").asLong(), metadata);
    return admin.alterConsumerGroupOffsets(text(request, "group"), Map.of(partition(request), offset)).all().get();
  }

  static Object describeGroup(Admin admin, String group) throws Exception {
    ConsumerGroupDescription found;
    try {
      found = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    } catch (ExecutionException thrown) {
      if (thrown.getCause() instanceof GroupIdNotFoundException) {
        return object("state", "Dead", "type", "Unknown", "assignor", "", "members", List.of());
      }
      throw thrown;
    }
    List<Object> members = new ArrayList<>();
    for (MemberDescription member : found.members()) {
      members.add(object("memberId", member.consumerId(), "clientId", member.clientId(),
          "instanceId", member.groupInstanceId().orElse(null),
          "partitions", places(member.assignment()), "epoch", member.memberEpoch().orElse(null),
          "target", member.targetAssignment().map(Witness::places).orElse(null)));
    }
    return object("state", found.groupState().toString(), "type", found.type().toString(),
        "assignor", found.partitionAssignor(), "members", members);
  }

  static Object places(MemberAssignment assignment) {
    return assignment.topicPartitions().stream().map(at -> object("topic", at.topic(), "partition", at.partition())).toList();
  }

  static Object offsets(String bootstrap, JsonNode request) {
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(bootstrap, text(request, "isolation"))) {
      Collection<TopicPartition> all = partitions(consumer, text(request, "topic"));
      Map<TopicPartition, Long> first = consumer.beginningOffsets(all);
      Map<TopicPartition, Long> end = consumer.endOffsets(all);
      return all.stream().map(at -> object("partition", at.partition(), "first", first.get(at), "end", end.get(at))).toList();
    }
  }

  /** Everything between the first and the end offset of each partition as they stand now. */
  static Object read(String bootstrap, JsonNode request) {
    List<Object> records = new ArrayList<>();
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(bootstrap, text(request, "isolation"))) {
      List<TopicPartition> open = new ArrayList<>(partitions(consumer, text(request, "topic")));
      Map<TopicPartition, Long> end = consumer.endOffsets(open);
      consumer.assign(open);
      consumer.seekToBeginning(open);
      long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(request.get("timeoutMs").asLong());
      while (true) {
        open.removeIf(at -> consumer.position(at) >= end.get(at));
        if (open.isEmpty()) return records;
        if (System.nanoTime() > deadline) throw new IllegalStateException("timed out before the end of " + open);
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
          if (record.offset() >= end.get(new TopicPartition(record.topic(), record.partition()))) continue;
          records.add(wire(record));
        }
      }
    }
  }

  /** What was added to a topic since the last call under the same name, at first all of it; the partitions are those of the first call. */
  static Object follow(String bootstrap, JsonNode request) {
    return followed(bootstrap, request, consumer -> partitions(consumer, text(request, "topic"))).stream().map(Witness::wire).toList();
  }

  /**
   * Every commit of a group since the last call under the same name, in the order in which its coordinators wrote them down: it is read
   * from the log that they keep, so that none is missed between two looks, and it does not matter which broker thinks that it
   * is the coordinator.
   */
  static Object followCommits(String bootstrap, JsonNode request) {
    String group = text(request, "group");
    List<Object> commits = new ArrayList<>();
    List<ConsumerRecord<byte[], byte[]>> log = followed(bootstrap, request, consumer -> {
      int count = partitions(consumer, "__consumer_offsets").size();
      return List.of(new TopicPartition("__consumer_offsets", Utils.abs(group.hashCode()) % count));
    });
    for (ConsumerRecord<byte[], byte[]> record : log) {
      ByteBuffer keyBytes = ByteBuffer.wrap(record.key());
      short keyVersion = keyBytes.getShort();
      // The group's members and assignments are in the same log, under higher numbers; null is an offset that expired.
      if (keyVersion > 1 || record.value() == null) continue;
      OffsetCommitKey key = new OffsetCommitKey(new ByteBufferAccessor(keyBytes), keyVersion);
      if (!key.group().equals(group)) continue;
      ByteBuffer valueBytes = ByteBuffer.wrap(record.value());
      OffsetCommitValue value = new OffsetCommitValue(new ByteBufferAccessor(valueBytes.slice(2, valueBytes.limit() - 2)), valueBytes.getShort(0));
      commits.add(object("topic", key.topic(), "partition", key.partition(), "offset", value.offset(),
          "metadata", value.metadata(), "at", value.commitTimestamp()));
    }
    return commits;
  }

  static List<ConsumerRecord<byte[], byte[]>> followed(
      String bootstrap, JsonNode request, Function<KafkaConsumer<byte[], byte[]>, Collection<TopicPartition>> choose) {
    KafkaConsumer<byte[], byte[]> consumer = FOLLOWED.computeIfAbsent(text(request, "follow"), name -> consumer(bootstrap, "read_committed"));
    List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
    synchronized (consumer) {
      if (consumer.assignment().isEmpty()) {
        Collection<TopicPartition> all = choose.apply(consumer);
        consumer.assign(all);
        consumer.seekToBeginning(all);
      }
      consumer.poll(Duration.ofMillis(request.get("waitMs").asLong())).forEach(records::add);
    }
    return records;
  }

  static Object unfollow(JsonNode request) {
    KafkaConsumer<byte[], byte[]> consumer = FOLLOWED.remove(text(request, "follow"));
    if (consumer == null) return null;
    synchronized (consumer) {
      consumer.close(CloseOptions.timeout(Duration.ofSeconds(1)));
    }
    return null;
  }

  /** Makes the next replica of each partition its preferred one, and elects it: leadership moves, no broker stops. */
  static Object moveLeaders(Admin admin, String name) throws Exception {
    TopicDescription topic = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
    Map<TopicPartition, Optional<NewPartitionReassignment>> moves = new HashMap<>();
    topic.partitions().forEach(info -> {
      List<Integer> replicas = new ArrayList<>(info.replicas().stream().map(node -> node.id()).toList());
      Collections.rotate(replicas, -1);
      moves.put(new TopicPartition(name, info.partition()), Optional.of(new NewPartitionReassignment(replicas)));
    });
    admin.alterPartitionReassignments(moves).all().get();
    return admin.electLeaders(ElectionType.PREFERRED, moves.keySet()).partitions().get().values().stream().filter(Optional::isEmpty).count();
  }

  static Object transaction(String bootstrap, JsonNode request) throws Exception {
    try (KafkaProducer<byte[], byte[]> producer = producer(bootstrap, text(request, "transactionalId"))) {
      producer.initTransactions();
      producer.beginTransaction();
      Object written = produce(producer, request);
      if (request.get("commit").asBoolean()) producer.commitTransaction(); else producer.abortTransaction();
      return written;
    }
  }

  /** Leaves a transaction open, as a process does that is killed: its producer is kept, and never used again. */
  static Object openTransaction(String bootstrap, JsonNode request) throws Exception {
    KafkaProducer<byte[], byte[]> producer = producer(bootstrap, text(request, "transactionalId"));
    producer.initTransactions();
    producer.beginTransaction();
    PRODUCERS.put("open " + text(request, "transactionalId"), producer);
    return produce(producer, request);
  }

  static Object produce(KafkaProducer<byte[], byte[]> producer, JsonNode request) throws Exception {
    String topic = text(request, "topic");
    List<Future<RecordMetadata>> sent = new ArrayList<>();
    for (JsonNode record : request.get("records")) {
      List<Header> headers = new ArrayList<>();
      for (JsonNode pair : record.path("headers")) headers.add(new RecordHeader(pair.get(0).asText(), bytes(pair.get(1))));
      sent.add(producer.send(new ProducerRecord<>(topic,
          record.hasNonNull("partition") ? record.get("partition").asInt() : null,
          record.hasNonNull("timestamp") ? record.get("timestamp").asLong() : null,
          bytes(record.get("key")), bytes(record.get("value")), headers)));
    }
    producer.flush();
    List<Object> written = new ArrayList<>();
    for (Future<RecordMetadata> one : sent) written.add(object("partition", one.get().partition(), "offset", one.get().offset()));
    return written;
  }

  static Object wire(ConsumerRecord<byte[], byte[]> record) {
    List<Object> headers = new ArrayList<>();
    for (Header header : record.headers()) {
      List<Object> pair = new ArrayList<>();
      pair.add(header.key());
      pair.add(base64(header.value()));
      headers.add(pair);
    }
    return object("partition", record.partition(), "offset", record.offset(), "timestamp", record.timestamp(),
        "key", base64(record.key()), "value", base64(record.value()), "headers", headers);
  }

  static KafkaProducer<byte[], byte[]> producer(String bootstrap, String transactionalId) {
    Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "acks", "all", "linger.ms", "2",
        "max.block.ms", "20000", "delivery.timeout.ms", "30000", "request.timeout.ms", "3000"));
    if (transactionalId != null) config.put("transactional.id", transactionalId);
    return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
  }

  static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String isolation) {
    return new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation, "enable.auto.commit", "false",
        "request.timeout.ms", "3000", "auto.offset.reset", "earliest", "allow.auto.create.topics", "false", "fetch.max.wait.ms", "50",
        "default.api.timeout.ms", "30000"), new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, String topic) {
    List<PartitionInfo> found = consumer.partitionsFor(topic);
    if (found == null || found.isEmpty()) throw new IllegalStateException("no such topic: " + topic);
    return found.stream().map(info -> new TopicPartition(topic, info.partition())).toList();
  }

  static TopicPartition partition(JsonNode request) {
    return new TopicPartition(text(request, "topic"), request.get("partition").asInt());
  }

  static String text(JsonNode request, String name) {
    return request.get(name).asText();
  }

  static String base64(byte[] bytes) {
    return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
  }

  static byte[] bytes(JsonNode base64) {
    return base64 == null || base64.isNull() ? null : Base64.getDecoder().decode(base64.asText());
  }

  static Map<String, Object> object(Object... pairs) {
    Map<String, Object> object = new LinkedHashMap<>();
    for (int i = 0; i < pairs.length; i += 2) object.put((String) pairs[i], pairs[i + 1]);
    return object;
  }
}
