/*
 * Client.java: what an app on the Java platform does, by java.net.http alone: one version of HTTP a run.
 * Usage    java Client.java PORT CERTIFICATE HTTP_1_1|HTTP_2
 * Output   "ok NAME" a step; the first that fails ends the program with a stack trace.
 */
import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.stream.Collectors;
import java.util.zip.GZIPInputStream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Client {
    static final int LARGE = 10 << 20;
    static HttpClient client;
    static HttpClient.Version version;
    static String base;

    static SSLContext trust(String certificate) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(certificate)) {
            store.setCertificateEntry("gateway", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, factory.getTrustManagers(), null);
        return context;
    }

    static HttpRequest.Builder ask(String path) {
        return HttpRequest.newBuilder(URI.create(base + path)).timeout(Duration.ofSeconds(60));
    }

    static void expect(boolean condition, String what) {
        if (!condition)
            throw new AssertionError(what);
    }

    static <T> HttpResponse<T> send(HttpRequest.Builder request, HttpResponse.BodyHandler<T> handler)
            throws Exception {
        HttpResponse<T> answer = client.send(request.build(), handler);
        expect(answer.version() == version, "spoken: " + answer.version());
        expect(answer.statusCode() == 200, "status " + answer.statusCode());
        return answer;
    }

    static byte[] random(int bytes) {
        byte[] data = new byte[bytes];
        new Random(7).nextBytes(data);
        return data;
    }

    static String digest(byte[] data) throws Exception {
        StringBuilder text = new StringBuilder();
        for (byte one : MessageDigest.getInstance("SHA-256").digest(data))
            text.append(String.format("%02x", one));
        return text.toString();
    }

    static void get() throws Exception {
        expect(send(ask("/text"), BodyHandlers.ofString()).body().startsWith("the same words"), "body");
    }

    static void head() throws Exception {
        HttpResponse<byte[]> answer = send(ask("/large").method("HEAD", BodyPublishers.noBody()), BodyHandlers.ofByteArray());
        expect(answer.body().length == 0, "a body");
        expect(answer.headers().firstValueAsLong("content-length").orElse(0) == LARGE, "length");
    }

    static void down() throws Exception {
        HttpResponse<byte[]> answer = send(ask("/large"), BodyHandlers.ofByteArray());
        expect(answer.body().length == LARGE, "length " + answer.body().length);
        expect(digest(answer.body()).equals(answer.headers().firstValue("x-sha256").orElse("")), "bytes");
    }

    static void up() throws Exception {
        byte[] data = random(LARGE);
        String stated = send(ask("/digest").POST(BodyPublishers.ofByteArray(data)), BodyHandlers.ofString()).body();
        expect(stated.equals(digest(data)), "bytes, of stated length");
        /* Of unknown length: chunked in HTTP/1.1. */
        String streamed = send(ask("/digest").POST(BodyPublishers.fromPublisher(BodyPublishers.ofByteArray(data))),
                               BodyHandlers.ofString()).body();
        expect(streamed.equals(digest(data)), "bytes, streamed");
    }

    static void events() throws Exception {
        HttpResponse<java.util.stream.Stream<String>> answer = send(ask("/events"), BodyHandlers.ofLines());
        expect(answer.headers().firstValue("content-type").orElse("").equals("text/event-stream"), "type");
        List<String> seen = new ArrayList<>();
        /* The server sends the next one when it has heard of the one before. */
        answer.body().filter(line -> line.startsWith("data: ")).forEach(line -> {
            seen.add(line.substring(6));
            try {
                send(ask("/seen").POST(BodyPublishers.ofString(line.substring(6))), BodyHandlers.discarding());
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        });
        expect(seen.equals(List.of("0", "1", "2", "3", "4")), "events " + seen);
    }

    static void gzip() throws Exception {
        for (int i = 0; i < 600; i++) {
            HttpResponse<byte[]> answer = send(ask("/text").header("accept-encoding", "gzip"), BodyHandlers.ofByteArray());
            if (!answer.headers().firstValue("content-encoding").orElse("").equals("gzip")) {
                Thread.sleep(50); /* made by a helper when somebody has asked for it */
                continue;
            }
            byte[] plain = new GZIPInputStream(new java.io.ByteArrayInputStream(answer.body())).readAllBytes();
            expect(new String(plain, "UTF-8").startsWith("the same words"), "text");
            return;
        }
        throw new AssertionError("never compressed");
    }

    static void many() throws Exception {
        List<CompletableFuture<HttpResponse<String>>> all = new ArrayList<>();
        for (int i = 0; i < 80; i++) /* this client fails where a connection has no stream left, of 100 */
            all.add(client.sendAsync(ask("/digest").POST(BodyPublishers.ofString("n" + i)).build(), BodyHandlers.ofString()));
        List<String> bodies = all.stream().map(one -> one.join().body()).collect(Collectors.toList());
        for (int i = 0; i < bodies.size(); i++)
            expect(bodies.get(i).equals(digest(("n" + i).getBytes())), "answer " + i);
    }

    interface Step {
        void run() throws Exception;
    }

    static void step(String name, Step step) throws Exception {
        step.run();
        System.out.println("ok " + name);
    }

    public static void main(String[] arguments) throws Exception {
        base = "https://localhost:" + arguments[0];
        version = HttpClient.Version.valueOf(arguments[2]);
        client = HttpClient.newBuilder().version(version).sslContext(trust(arguments[1])).build();
        step("get", Client::get);
        step("head", Client::head);
        step("down", Client::down);
        step("up", Client::up);
        step("events", Client::events);
        step("gzip", Client::gzip);
        step("many", Client::many);
    }
}
