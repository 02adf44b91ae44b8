# Sourced: installs what the tests of the Kafka sink need, at fixed versions: Apache Kafka from Maven Central and its clients
# from PyPI, into target/kafka. Sets `root`, `here` and `place`.
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/kafka
place=${CARGO_TARGET_DIR:-$root/target}/kafka
mkdir -p "$place"
if ! cmp -s "$here/requirements.txt" "$place/requirements.txt"; then
    "${PYTHON:-python3}" -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$place/requirements.txt"
fi
# Kafka 4 needs Java 17.
if command -v java > /dev/null && command -v mvn > /dev/null &&
    [ "$(java -XshowSettings:properties -version 2>&1 | sed -n 's/ *java.specification.version = //p')" -ge 17 ]; then
    if ! cmp -s "$here/jars.sha256" "$place/jars.sha256"; then
        rm -rf "$place/jars"
        mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
            -DoutputDirectory="$place/jars" -DincludeScope=runtime
        (cd "$place/jars" && sha256sum --quiet -c "$here/jars.sha256")
        cp "$here/jars.sha256" "$place/jars.sha256"
    fi
else
    echo "the tests of the Kafka sink have no Java 17 and Maven, and so no Kafka: they run on librdkafka's stand-in alone"
    rm -rf "$place/jars"
fi
