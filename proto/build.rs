//! Compiles the protos with protox, so that no `protoc` is needed on the machine.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILES: [&str; 8] = [
        "log",
        "raft",
        "feed",
        "authority",
        "audit",
        "keys",
        "approvals",
        "policy",
    ];
    let files: Vec<String> = FILES
        .iter()
        .map(|name| format!("hessra/v1/{name}.proto"))
        .collect();
    for file in &files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    let grpc = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .bytes("hessra.v1.raft.AppendRequest.entries")
        .compile_fds(descriptors)?;
    Ok(())
}
