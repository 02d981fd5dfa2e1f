"""The uncertainty policy as a table of invented sentences; expected answers were written before the extractor ran.

`+slug` is present, `-slug` absent, `?slug` uncertain; a line lists every mention of its sentence and nothing else.
"""

import pytest

from retrieval.extraction.extractor import Extractor, stated
from retrieval.mentions import ConceptMention
from retrieval.ontology.ontology import load
from retrieval.sections import read_report

ONTOLOGY = load()
EXTRACTOR = Extractor(ONTOLOGY)
SIGN = {"present": "+", "absent": "-", "uncertain": "?"}


def said(text: str) -> str:
    return " ".join(sorted(SIGN[m.certainty] + ONTOLOGY[m.concept].slug for m in EXTRACTOR.read(text)))


def only(text: str, slug: str) -> ConceptMention:
    found = [m for m in EXTRACTOR.read(text) if ONTOLOGY[m.concept].slug == slug]
    assert len(found) == 1, said(text)
    return found[0]


CASES: dict[str, list[tuple[str, str]]] = {
    "stated": [
        ("There is a pleural effusion.", "+pleural_effusion"),
        ("Pleural effusion.", "+pleural_effusion"),
        ("Pleural effusion is present.", "+pleural_effusion"),
        ("The patient has an effusion and a pneumothorax.", "+pleural_effusion +pneumothorax"),
        ("Effusion is seen; pneumothorax is seen.", "+pleural_effusion +pneumothorax"),
        ("An effusion, a pneumothorax, and cardiomegaly are visible.",
         "+cardiomegaly +pleural_effusion +pneumothorax"),
        ("The heart is enlarged.", "+cardiomegaly"),
        ("Enlargement of the heart is again shown.", "+cardiomegaly"),
        ("Minimal pneumothorax.", "+pneumothorax"),
        ("The heart is borderline enlarged.", "+cardiomegaly"),
        ("Large left haemothorax.", "+hemothorax"),
        ("Interstitial oedema has developed.", "+interstitial_edema"),
    ],
    "weak words that commit": [
        ("Opacity consistent with pneumonia.", "+lung_opacity +pneumonia"),
        ("Opacity compatible with pneumonia.", "+lung_opacity +pneumonia"),
        ("Opacity in keeping with pneumonia.", "+lung_opacity +pneumonia"),
        ("Opacity representing pneumonia.", "+lung_opacity +pneumonia"),
        ("This is likely pneumonia.", "+pneumonia"),
        ("This is most likely pneumonia.", "+pneumonia"),
        ("Probable pneumonia.", "+pneumonia"),
        ("Presumably this is pneumonia.", "+pneumonia"),
        ("We favour pneumonia.", "+pneumonia"),
        ("We favor pneumonia.", "+pneumonia"),
        ("Volume loss due to pneumothorax.", "+pneumothorax +volume_loss"),
        ("Volume loss indicating pneumothorax.", "+pneumothorax +volume_loss"),
        ("There is evidence of pneumonia.", "+pneumonia"),
    ],
    "left open": [
        ("Possible pneumonia.", "?pneumonia"),
        ("Possibly there is pneumonia.", "?pneumonia"),
        ("The opacity may be pneumonia.", "+lung_opacity ?pneumonia"),
        ("The opacity might reflect pneumonia.", "+lung_opacity ?pneumonia"),
        ("The opacity could represent pneumonia.", "+lung_opacity ?pneumonia"),
        ("Pneumonia may be present.", "?pneumonia"),
        ("Pneumonia cannot be excluded.", "?pneumonia"),
        ("Cannot rule out pneumonia.", "?pneumonia"),
        ("Pneumonia is not excluded.", "?pneumonia"),
        ("Pneumonia cannot be ruled out.", "?pneumonia"),
        ("Pneumonia is difficult to exclude.", "?pneumonia"),
        ("It is difficult to exclude pneumonia.", "?pneumonia"),
        ("Pneumonia and effusion cannot be excluded.", "?pleural_effusion ?pneumonia"),
        ("Questionable nodule.", "?lung_nodule"),
        ("Question of a nodule.", "?lung_nodule"),
        ("Opacity suspicious for pneumonia.", "+lung_opacity ?pneumonia"),
        ("Suspected pneumothorax.", "?pneumothorax"),
        ("Pneumothorax is suspected.", "?pneumothorax"),
        ("Opacity raises concern for pneumonia.", "+lung_opacity ?pneumonia"),
        ("Opacity concerning for pneumonia.", "+lung_opacity ?pneumonia"),
        ("These findings suggest pneumonia.", "?pneumonia"),
        ("Opacity suggestive of pneumonia.", "+lung_opacity ?pneumonia"),
        ("Differential includes pneumonia and atelectasis.", "?atelectasis ?pneumonia"),
        ("Pneumonia is unlikely.", "?pneumonia"),
        ("Unlikely to be pneumonia.", "?pneumonia"),
        ("Less likely pneumonia.", "?pneumonia"),
        ("Pneumonia is less likely.", "?pneumonia"),
        ("Doubtful nodule.", "?lung_nodule"),
        ("Equivocal nodule.", "?lung_nodule"),
        ("The nodule is not definite.", "?lung_nodule"),
        ("Potentially there is a nodule.", "?lung_nodule"),
        ("This appears possibly to be a nodule.", "?lung_nodule"),
        ("The possibility of pneumonia should be considered.", "?pneumonia"),
        ("Pneumonia should be considered.", "?pneumonia"),
        ("Pneumonia is possible.", "?pneumonia"),
    ],
    "between two readings": [
        ("Atelectasis versus pneumonia.", "?atelectasis ?pneumonia"),
        ("Atelectasis vs. pneumonia.", "?atelectasis ?pneumonia"),
        ("Atelectasis or pneumonia.", "?atelectasis ?pneumonia"),
        ("Opacity may represent atelectasis or pneumonia.", "+lung_opacity ?atelectasis ?pneumonia"),
        ("Opacity may represent atelectasis, scarring, or pneumonia.",
         "+lung_opacity ?atelectasis ?lung_scarring ?pneumonia"),
        ("Either atelectasis or pneumonia.", "?atelectasis ?pneumonia"),
        ("There is an effusion, and the opacity is atelectasis versus pneumonia.",
         "+lung_opacity +pleural_effusion ?atelectasis ?pneumonia"),
        ("Likely atelectasis, less likely pneumonia.", "+atelectasis ?pneumonia"),
        ("Possible nodule and a definite effusion.", "+pleural_effusion ?lung_nodule"),
    ],
    "denied": [
        ("No pneumothorax.", "-pneumothorax"),
        ("Without pneumothorax.", "-pneumothorax"),
        ("Negative for pneumothorax.", "-pneumothorax"),
        ("The chest is free of pneumothorax.", "-pneumothorax"),
        ("Absence of pneumothorax.", "-pneumothorax"),
        ("Pneumothorax is not seen.", "-pneumothorax"),
        ("Pneumothorax is absent.", "-pneumothorax"),
        ("No evidence of pneumothorax.", "-pneumothorax"),
        ("No radiographic evidence for pneumothorax.", "-pneumothorax"),
        ("Neither pneumothorax nor pneumonia.", "-pneumonia -pneumothorax"),
        ("Atelectasis rather than pneumonia.", "+atelectasis -pneumonia"),
        ("The pneumothorax has resolved.", "-pneumothorax"),
        ("Pneumonia has been ruled out.", "-pneumonia"),
        ("Pneumonia is ruled out.", "-pneumonia"),
        ("The lungs are clear of pneumonia.", "-pneumonia"),
        ("The chest tube has been removed.", "-chest_tube"),
        ("Interval removal of the chest tube.", "-chest_tube"),
        ("There is no pneumothorax seen.", "-pneumothorax"),
        ("No pneumothorax is identified.", "-pneumothorax"),
        ("Pneumothorax is no longer seen.", "-pneumothorax"),
        ("Opacity, not pneumonia.", "+lung_opacity -pneumonia"),
        ("There is not any pneumothorax.", "-pneumothorax"),
        ("The heart is not enlarged.", "-cardiomegaly"),
        ("The pneumothorax is not visualised.", "-pneumothorax"),
        ("Lack of pneumothorax.", "-pneumothorax"),
    ],
    "denied in spite of a weak word": [
        ("No definite pneumothorax.", "-pneumothorax"),
        ("No convincing pneumothorax.", "-pneumothorax"),
        ("No obvious pneumothorax.", "-pneumothorax"),
        ("No definite evidence of pneumothorax.", "-pneumothorax"),
        ("No opacity to suggest pneumonia.", "-lung_opacity -pneumonia"),
        ("No opacity suggestive of pneumonia.", "-lung_opacity -pneumonia"),
        ("There is nothing to suggest pneumonia.", "-pneumonia"),
        ("No effusion or opacity to suggest pneumonia.", "-lung_opacity -pleural_effusion -pneumonia"),
    ],
    "denied lists": [
        ("No pneumothorax, effusion or pneumonia.", "-pleural_effusion -pneumonia -pneumothorax"),
        ("No pneumothorax, effusion, or pneumonia.", "-pleural_effusion -pneumonia -pneumothorax"),
        ("No pneumothorax or effusion.", "-pleural_effusion -pneumothorax"),
        ("No pneumothorax and no effusion.", "-pleural_effusion -pneumothorax"),
        ("No pneumothorax, no effusion, no pneumonia.", "-pleural_effusion -pneumonia -pneumothorax"),
        ("No pneumothorax nor effusion.", "-pleural_effusion -pneumothorax"),
        ("Pneumothorax, effusion and pneumonia are not seen.", "-pleural_effusion -pneumonia -pneumothorax"),
        ("No evidence of pneumothorax, large effusion, cardiomegaly, or pneumonia.",
         "-cardiomegaly -pleural_effusion -pneumonia -pneumothorax"),
        ("No pneumothorax/effusion.", "-pleural_effusion -pneumothorax"),
        ("Without pneumothorax or pleural effusion.", "-pleural_effusion -pneumothorax"),
        ("No pneumothorax is seen on the left or the right.", "-pneumothorax"),
        ("No pneumothorax, small or large.", "-pneumothorax"),
    ],
    "where a denial ends": [
        ("No pneumothorax but a small effusion.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax, but effusion is present.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax; effusion on the left.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax. Effusion on the left.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax, however there is effusion.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax, and the heart is enlarged.", "+cardiomegaly -pneumothorax"),
        ("No pneumothorax and there is a small effusion.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax, a small effusion is seen.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax, mild edema.", "+pulmonary_edema -pneumothorax"),
        ("No pneumothorax although effusion persists.", "+pleural_effusion -pneumothorax"),
        ("No abnormality other than cardiomegaly.", "+cardiomegaly"),
        ("Effusion without pneumothorax.", "+pleural_effusion -pneumothorax"),
        ("Effusion, no pneumothorax.", "+pleural_effusion -pneumothorax"),
        ("There is effusion but no pneumothorax.", "+pleural_effusion -pneumothorax"),
        ("Effusion is seen and pneumothorax is not seen.", "+pleural_effusion -pneumothorax"),
        ("No pneumothorax on the left. There is one effusion.", "+pleural_effusion -pneumothorax"),
    ],
    "about visibility": [
        ("The effusion is not well seen.", "+pleural_effusion"),
        ("No change in the effusion.", "+pleural_effusion"),
        ("Not only effusion, also pneumothorax.", "+pleural_effusion +pneumothorax"),
    ],
    "normal": [
        ("The lungs are clear.", "+clear_lungs"),
        ("Clear lungs.", "+clear_lungs"),
        ("Lungs clear.", "+clear_lungs"),
        ("Both lungs are clear.", "+clear_lungs"),
        ("Heart size is normal.", "+normal_heart_size"),
        ("Normal heart size.", "+normal_heart_size"),
        ("The heart is normal in size.", "+normal_heart_size"),
        ("The heart, hila and mediastinum are normal.", "+normal_heart_size +normal_hila +normal_mediastinum"),
        ("Heart size and mediastinal contours are within normal limits.", "+normal_heart_size +normal_mediastinum"),
        ("The mediastinum is unremarkable.", "+normal_mediastinum"),
        ("The heart is normal and the lungs are clear.", "+clear_lungs +normal_heart_size"),
        ("Heart size normal, lungs clear.", "+clear_lungs +normal_heart_size"),
        ("The trachea is midline.", "+midline_trachea"),
        ("The costophrenic angles are sharp.", "+sharp_costophrenic_angles"),
        ("The bones are intact.", "+normal_bones"),
        ("The diaphragm is normal.", "+normal_diaphragm"),
        ("The lungs are clear without effusion.", "+clear_lungs -pleural_effusion"),
        ("The lungs are clear, and there is no effusion.", "+clear_lungs -pleural_effusion"),
        ("The heart is enlarged and the lungs are clear.", "+cardiomegaly +clear_lungs"),
        ("The cardiomediastinal silhouette is normal.", "+normal_cardiomediastinal_silhouette"),
        ("No acute cardiopulmonary abnormality.", "+no_acute_finding"),
        ("No acute osseous abnormality.", "+no_acute_bone_finding"),
        ("Normal chest.", "+normal_chest"),
        ("The heart is not normal.", ""),
        ("The lungs are not clear.", ""),
    ],
    "never normal": [
        ("The heart size is top normal.", "+cardiomegaly"),
        ("The heart size is at the upper limits of normal.", "+cardiomegaly"),
        ("Borderline heart size.", "+cardiomegaly"),
        ("The heart is prominent.", "+cardiomegaly"),
    ],
    "change": [
        ("No new effusion.", "?pleural_effusion"),
        ("No new effusion or pneumothorax.", "?pleural_effusion ?pneumothorax"),
        ("Unchanged effusion.", "+pleural_effusion"),
        ("The effusion is unchanged.", "+pleural_effusion"),
        ("Stable effusion.", "+pleural_effusion"),
        ("Persistent effusion.", "+pleural_effusion"),
        ("No increase in the effusion.", "+pleural_effusion"),
        ("The effusion has not worsened.", "+pleural_effusion"),
        ("The effusion has improved.", "+pleural_effusion"),
        ("Decreased effusion.", "+pleural_effusion"),
        ("The effusion has resolved.", "-pleural_effusion"),
        ("Resolution of the effusion.", "-pleural_effusion"),
        ("No significant change in the effusion or the pneumothorax.", "+pleural_effusion +pneumothorax"),
        ("New effusion.", "+pleural_effusion"),
    ],
    "somebody else's business": [
        ("History of pneumonia.", ""),
        ("History of pneumonia, now with effusion.", "+pleural_effusion"),
        ("To exclude pneumonia.", ""),
        ("CT is recommended to exclude pneumonia.", ""),
        ("If there is concern for pneumonia, repeat the study.", ""),
        ("Recommend CT for evaluation of the nodule.", ""),
        ("Status post pneumonectomy.", "+pneumonectomy"),
        ("Status post sternotomy.", "+sternotomy"),
        ("Patient with history of heart failure.", ""),
        ("Evaluate for pneumothorax.", ""),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [pytest.param(*case, id=case[0]) for listed in CASES.values() for case in listed]
)
def test_policy(text: str, expected: str) -> None:
    assert said(text) == expected


def test_the_table_covers_the_policy() -> None:
    assert sum(map(len, CASES.values())) >= 120
