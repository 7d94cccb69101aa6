"""Administration of the test broker, for tests/services/kafka: a Java tool would need seconds
for what takes a fraction of one here.

    admin.py ENV_FILE VERB [ARGUMENT...]

The verbs are those of tests/services/kafka, and `ready` and `prepare` for its start.
"""

import json
import sys
import time

from confluent_kafka import (
    Consumer,
    ElectionType,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

SECONDS_MAX = 30
MECHANISMS = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)


def environment(path):
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("=", 1) for line in lines)


def administrator(env):
    quiet = {"log_level": 0, "error_cb": lambda error: None}
    return AdminClient({"bootstrap.servers": env["KAFKA_PLAINTEXT"], **quiet})


def settle(futures):
    return [future.result(SECONDS_MAX) for future in futures.values()]


def ready(admin, _env):
    """Fails until the broker answers with itself as the controller."""
    if admin.list_topics(timeout=2).controller_id < 0:
        raise RuntimeError("no controller yet")


def prepare(admin, env):
    """The users, rights and topic that every test may count on."""
    topic, group = env["KAFKA_TOPIC"], env["KAFKA_GROUP"]
    topic_create(admin, env, topic)
    for user in ("token", "reader", "nobody"):
        scram(admin, env, user, env[f"KAFKA_{user.upper()}_PASSWORD"])
    acl(admin, env, "add", "token", "Write,Describe", "topic", topic)
    acl(admin, env, "add", "CN=weir-client", "Write,Describe", "topic", topic)
    acl(admin, env, "add", "reader", "Read,Describe", "topic", topic)
    acl(admin, env, "add", "reader", "Read", "group", group)


def topic_create(admin, _env, name, *settings):
    config = dict(setting.split("=", 1) for setting in settings)
    partitions = int(config.pop("partitions", 1))
    brokers = [int(broker) for broker in config.pop("replicas", "1").split(",")]
    placed = {"replica_assignment": [brokers] * partitions, "config": config}
    settle(admin.create_topics([NewTopic(name, partitions, **placed)]))


def topic_delete(admin, _env, name):
    settle(admin.delete_topics([name]))


def topic_elect(admin, _env, name):
    """Waits until all replicas are in sync: only then the first one can lead."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        partitions = admin.list_topics(name, timeout=SECONDS_MAX).topics[name].partitions
        if all(len(one.isrs) == len(one.replicas) for one in partitions.values()):
            break
        if time.monotonic() > deadline:
            raise RuntimeError("not in sync")
        time.sleep(0.1)
    wanted = [TopicPartition(name, number) for number in partitions]
    elected = admin.elect_leaders(ElectionType.PREFERRED, wanted).result(SECONDS_MAX)
    for error in filter(None, elected.values()):
        raise KafkaException(error)


def topic(admin, env, verb, name, *settings):
    verbs = {"create": topic_create, "delete": topic_delete, "elect": topic_elect}
    verbs[verb](admin, env, name, *settings)


def acl(admin, _env, verb, user, operations, kind, name):
    for operation in operations.split(","):
        words = (
            ResourceType[kind.upper()],
            name,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[operation.upper()],
            AclPermissionType.ALLOW,
        )
        if verb == "add":
            settle(admin.create_acls([AclBinding(*words)]))
        elif verb == "remove":
            (removed,) = settle(admin.delete_acls([AclBindingFilter(*words)]))
            if not removed:
                raise RuntimeError(f"{user} did not have {operation} on {kind} {name}")
        else:
            raise ValueError(f"add or remove, not {verb}")


def scram(admin, _env, user, password):
    changes = [
        UserScramCredentialUpsertion(
            user, ScramCredentialInfo(mechanism, 4096), password.encode()
        )
        for mechanism in MECHANISMS
    ]
    for change in changes:
        settle(admin.alter_user_scram_credentials([change]))


def consume(_admin, env, topic, count, *options):
    """Prints COUNT messages; goes on where the group stopped, as the SIEM's reader would."""
    consumer = Consumer(
        {
            "bootstrap.servers": env["KAFKA_SASL_SSL"],
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": env["KAFKA_READER_USER"],
            "sasl.password": env["KAFKA_READER_PASSWORD"],
            "ssl.ca.location": env["KAFKA_CA"],
            "group.id": env["KAFKA_GROUP"],
            "auto.offset.reset": "earliest" if "--from-beginning" in options else "latest",
        }
    )
    consumer.subscribe([topic])
    deadline = time.monotonic() + SECONDS_MAX
    missing = int(count)
    try:
        while missing:
            message = consumer.poll(0.5)
            if message is None:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{missing} of {count} messages did not come")
                continue
            if message.error():
                raise KafkaException(message.error())
            print(json.dumps(shown(message)))
            missing -= 1
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()


def shown(message):
    def text(data):
        return None if data is None else data.decode("utf-8", "backslashreplace")

    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": text(message.key()),
        "headers": [[name, text(value)] for name, value in message.headers() or []],
        "value": text(message.value()),
    }


def main(env_file, verb, *arguments):
    env = environment(env_file)
    verbs = (ready, prepare, topic, acl, scram, consume)
    known = {function.__name__: function for function in verbs}
    if verb not in known:
        sys.exit(f"admin.py: no verb {verb}")
    try:
        known[verb](administrator(env), env, *arguments)
    except (KafkaException, RuntimeError, TypeError, KeyError, ValueError) as error:
        first = error.args[0] if error.args else error
        reason = first.str() if isinstance(first, KafkaError) else repr(error)
        sys.exit(f"kafka {verb}: {reason}")


if __name__ == "__main__":
    main(*sys.argv[1:])
