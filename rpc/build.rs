//! Generates the services and clients from the .proto files of `baton-proto`, whose messages they use. No system
//! `protoc` is needed.

const PROTO: &str = "../proto/proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "baton/relay/v1/relay.proto",
        "baton/exec/v1/exec.proto",
        "baton/metadata/v1/metadata.proto",
        "baton/warm/v1/warm.proto",
        "baton/files/v1/files.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={PROTO}/{file}");
    }
    let mut descriptors = protox::compile(files, [PROTO])?;
    let all = std::mem::take(&mut descriptors.file);
    for file in all {
        let services = match file.package() {
            "baton.exec.v1" | "baton.warm.v1" => services().codec_path("crate::codec::CheckedCodec"),
            "baton.metadata.v1" | "baton.files.v1" => services().codec_path("crate::codec::PlainCodec"),
            _ => services(),
        };
        descriptors.file = vec![file];
        services.compile_fds(descriptors.clone())?;
    }
    Ok(())
}

/// Messages come from `baton-proto`; only services are generated.
fn services() -> tonic_prost_build::Builder {
    tonic_prost_build::configure()
        .extern_path(".baton.relay.v1", "::baton_proto::relay")
        .extern_path(".baton.exec.v1", "::baton_proto::exec")
        .extern_path(".baton.metadata.v1", "::baton_proto::metadata")
        .extern_path(".baton.warm.v1", "::baton_proto::warm")
        .extern_path(".baton.files.v1", "::baton_proto::files")
}
