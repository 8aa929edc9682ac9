# docker build --build-arg VERSION=$(git describe --tags --always) -t aldaba .
FROM golang:1.26-alpine AS build
RUN apk add --no-cache ca-certificates
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /aldaba ./app

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /aldaba /aldaba
USER 65532:65532
# Inside a container, loopback is nobody's: the public port is open to its network, /metrics stays off until asked for.
ENV ALDABA_LISTEN=:8080 ALDABA_ADMIN_LISTEN=
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["/aldaba", "healthcheck"]
ENTRYPOINT ["/aldaba"]
CMD ["serve"]
