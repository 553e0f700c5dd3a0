//! Generates the wire types from the .proto files without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "baton/relay/v1/relay.proto",
        "baton/channel/v1/channel.proto",
        "baton/channel/v1/ticket.proto",
        "baton/exec/v1/exec.proto",
        "baton/meta/v1/meta.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed=proto/{file}");
    }
    let mut descriptors = protox::compile(files, ["proto"])?;
    let (exec, others) = descriptors
        .file
        .into_iter()
        .partition(|file| file.package() == "baton.exec.v1");
    // Its messages are looked at before they are decoded.
    descriptors.file = exec;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::CheckedCodec")
        .compile_fds(descriptors.clone())?;
    descriptors.file = others;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
