//! Authors. What the proofs of one batch have in common is written once; the statement that was signed is not written at all:
//! it is made anew of the command that stands beside the signature. So no part of a command can be altered alone, and a
//! proof takes about 80 bytes.

use std::sync::Arc;

use hessra_proof::{Proof, Signer, Statement};
use hessra_proto::v1::log;
use hessra_state::{Author, Command, Duty, RequestId};

use super::message::{CodecError, array};
use super::statement::statement_digest;

/// Signers of a batch that is being encoded.
#[derive(Default)]
pub(super) struct Signers {
    known: Vec<(Arc<Signer>, [u8; 16])>,
}

/// Signer of a batch that was decoded, and the cluster that was signed for.
pub(super) type DecodedSigner = (Arc<Signer>, [u8; 16]);

impl Signers {
    pub(super) fn encode(&mut self, author: &Author) -> log::stamped::Author {
        match author {
            Author::Operator(proof) => log::stamped::Author::Signed(self.encode_proof(proof)),
            Author::Node { id, duty } => log::stamped::Author::Node(log::NodeAuthor {
                id: *id,
                duty: encode_duty(*duty).into(),
            }),
        }
    }

    fn encode_proof(&mut self, proof: &Proof) -> log::Signed {
        let statement = proof.statement();
        log::Signed {
            signer: self.place(proof.signer(), statement.cluster),
            issued_at: statement.issued_at,
            expires_at: statement.expires_at,
            signature: proof.signature().to_vec(),
        }
    }

    fn place(&mut self, signer: &Arc<Signer>, cluster: [u8; 16]) -> u32 {
        let is_it = |(known, of): &(Arc<Signer>, [u8; 16])| {
            *of == cluster && (Arc::ptr_eq(known, signer) || known == signer)
        };
        let place = self.known.iter().position(is_it).unwrap_or_else(|| {
            self.known.push((Arc::clone(signer), cluster));
            self.known.len() - 1
        });
        // INVARIANT: an entry has a few hundred commands.
        place as u32
    }

    pub(super) fn encoded(self) -> Vec<log::Signer> {
        let signers = self.known.into_iter();
        signers
            .map(|(signer, cluster)| log::Signer {
                header: signer.header().to_owned(),
                cluster: cluster.to_vec(),
            })
            .collect()
    }
}

pub(super) fn decode_signers(signers: &[log::Signer]) -> Result<Vec<DecodedSigner>, CodecError> {
    let decode = |signer: &log::Signer| {
        let read = Signer::shared(&signer.header);
        let read = read.map_err(|error| CodecError::invalid("signer", &error))?;
        Ok((read, array("cluster", &signer.cluster)?))
    };
    signers.iter().map(decode).collect()
}

pub(super) fn decode_author(
    author: Option<&log::stamped::Author>,
    signers: &[DecodedSigner],
    request: RequestId,
    command: &Command,
) -> Result<Author, CodecError> {
    match author.ok_or(CodecError::Unknown("author"))? {
        log::stamped::Author::Node(node) => Ok(Author::Node {
            id: node.id,
            duty: decode_duty(node.duty)?,
        }),
        log::stamped::Author::Signed(signed) => {
            let signer = signers.get(signed.signer as usize);
            let (signer, cluster) = signer.ok_or_else(|| {
                CodecError::Invalid(format!("the batch has no signer {}", signed.signer))
            })?;
            let digest = statement_digest(command).ok_or_else(|| {
                CodecError::Invalid("a command that no operator makes is signed".to_owned())
            })?;
            let statement = Statement {
                cluster: *cluster,
                request: request.0,
                command: digest,
                issued_at: signed.issued_at,
                expires_at: signed.expires_at,
            };
            let proof = Proof::of_parts(Arc::clone(signer), statement, &signed.signature);
            Ok(Author::Operator(proof))
        }
    }
}

fn encode_duty(duty: Duty) -> log::Duty {
    match duty {
        Duty::Start => log::Duty::Start,
        Duty::Collection => log::Duty::Collection,
        Duty::Rotation => log::Duty::Rotation,
        Duty::Repository => log::Duty::Repository,
        Duty::Holders => log::Duty::Holders,
        Duty::Witness => log::Duty::Witness,
        Duty::Presence => log::Duty::Presence,
    }
}

fn decode_duty(number: i32) -> Result<Duty, CodecError> {
    let known = Duty::ALL
        .into_iter()
        .find(|duty| i32::from(encode_duty(*duty)) == number);
    known.ok_or(CodecError::Unknown("duty"))
}
